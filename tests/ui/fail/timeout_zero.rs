#[evertask::handler(timeout = "0s")]
async fn send() {}

fn main() {}
