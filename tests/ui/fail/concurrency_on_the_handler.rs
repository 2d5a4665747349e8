#[evertask::handler(concurrency = 3)]
async fn send() {}

fn main() {}
