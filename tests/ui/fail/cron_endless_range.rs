#[evertask::handler(cron = "0 0 1--100000000 * *")]
async fn send() {}

fn main() {}
