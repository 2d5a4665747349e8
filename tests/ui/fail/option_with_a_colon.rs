#[evertask::handler(timeout: "5m")]
async fn send() {}

fn main() {}
