#[evertask::handler(retries = 3, queue = "mail", retries = 5)]
async fn send() {}

fn main() {}
