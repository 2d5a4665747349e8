#[evertask::handler(timout = "5m", retries = "3", queue = "", priority = 99999)]
async fn send() {}

fn main() {}
