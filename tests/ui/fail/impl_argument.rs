#[evertask::handler]
async fn send(_email: impl Into<String>) {}

fn main() {}
