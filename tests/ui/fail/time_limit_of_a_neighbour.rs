#[evertask::handler(time_limit = "5m")]
async fn send() {}

fn main() {}
