#[evertask::handler(timeout = "none")]
async fn send() {}

fn main() {}
