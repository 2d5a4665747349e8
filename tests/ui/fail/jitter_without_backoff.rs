#[evertask::handler(jitter = false)]
async fn send() {}

fn main() {}
