#[evertask::handler(cron = "0 3 * * *", every = "5m")]
async fn send() {}

fn main() {}
