#[evertask::handler]
async fn send(#[arg] _email: String) {}

fn main() {}
