#[evertask::handler(name = "")]
async fn send() {}

fn main() {}
