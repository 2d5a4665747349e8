#[evertask::handler(schedule = "0 3 * * *")]
async fn send() {}

fn main() {}
