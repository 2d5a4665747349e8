#[evertask::handler(backoff = "exponential(1h, max = 1s)")]
async fn send() {}

fn main() {}
