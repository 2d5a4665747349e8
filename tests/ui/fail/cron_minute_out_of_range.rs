#[evertask::handler(cron = "61 * * * *")]
async fn send() {}

fn main() {}
