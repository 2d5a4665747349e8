#[evertask::handler(timeout)]
async fn send() {}

fn main() {}
