#[evertask::handler(max_retries = 3)]
async fn send() {}

fn main() {}
