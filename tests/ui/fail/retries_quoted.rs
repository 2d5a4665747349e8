#[evertask::handler(retries = "3")]
async fn send() {}

fn main() {}
