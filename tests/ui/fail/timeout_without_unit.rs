#[evertask::handler(timeout = "300")]
async fn send() {}

fn main() {}
