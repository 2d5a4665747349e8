#[evertask::handler(every = "5m", spread = "32d")]
async fn send() {}

fn main() {}
