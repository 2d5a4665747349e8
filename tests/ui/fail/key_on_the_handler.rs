#[evertask::handler(key = "one")]
async fn send() {}

fn main() {}
