#[evertask::handler(backoff = "fixed(2s)", jitter = no)]
async fn send() {}

fn main() {}
