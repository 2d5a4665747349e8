#[evertask::handler(cron = "0 3 * * *")]
async fn send() {}

fn main() {}
