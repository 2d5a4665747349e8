#[evertask::handler(cron = "@every 5m", tz = "Europe/Rome")]
async fn send() {}

fn main() {}
