#[evertask::handler(timout = "5m")]
async fn send() {}

fn main() {}
