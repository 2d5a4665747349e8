#[evertask::handler(version = 0)]
async fn send() {}

fn main() {}
