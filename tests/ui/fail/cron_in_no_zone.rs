#[evertask::handler(cron = "0 3 * * *", tz = "Europe/Rom")]
async fn send() {}

fn main() {}
