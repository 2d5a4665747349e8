#[evertask::handler(colour = "red")]
async fn send() {}

fn main() {}
