#[evertask::handler(retries = 5000000000)]
async fn send() {}

fn main() {}
