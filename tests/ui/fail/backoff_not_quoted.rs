#[evertask::handler(backoff = exponential(1s))]
async fn send() {}

fn main() {}
