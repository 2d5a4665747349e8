#[evertask::handler(cron = "0 3 * * * Europe/Rome")]
async fn send() {}

fn main() {}
