#[evertask::handler(timeout = "10000w")]
async fn send() {}

fn main() {}
