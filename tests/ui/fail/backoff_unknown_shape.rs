#[evertask::handler(backoff = "linear(1s)")]
async fn send() {}

fn main() {}
