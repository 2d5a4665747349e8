#[evertask::handler(backoff = "exponential(1s, 1h)")]
async fn send() {}

fn main() {}
