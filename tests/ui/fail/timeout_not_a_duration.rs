#[evertask::handler(timeout = "soon")]
async fn send() {}

fn main() {}
