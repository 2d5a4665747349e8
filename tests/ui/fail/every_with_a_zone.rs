#[evertask::handler(every = "5m", tz = "Europe/Zurich")]
async fn send() {}

fn main() {}
