#[evertask::handler(tz = "Europe/Rome")]
async fn send() {}

fn main() {}
