#[evertask::handler(cron = "0 0 30 2 *")]
async fn send() {}

fn main() {}
