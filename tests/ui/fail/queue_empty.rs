#[evertask::handler(queue = "")]
async fn send() {}

fn main() {}
