#[evertask::handler(timeout = "1 month")]
async fn send() {}

fn main() {}
