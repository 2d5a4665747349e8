#[evertask::handler(cron = "every day at nine or so")]
async fn send() {}

fn main() {}
