#[evertask::handler(cron = daily)]
async fn send() {}

fn main() {}
