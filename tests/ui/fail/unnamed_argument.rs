#[evertask::handler]
async fn send(_: String) {}

fn main() {}
