#[evertask::handler(retries = 3 queue = "mail")]
async fn send() {}

fn main() {}
