#[evertask::handler]
async fn send(_email: &str) {}

fn main() {}
