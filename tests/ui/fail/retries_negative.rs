#[evertask::handler(retries = -1)]
async fn send() {}

fn main() {}
