#[evertask::handler(backoff = "exponental(1s)")]
async fn send() {}

fn main() {}
