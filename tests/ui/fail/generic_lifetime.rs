#[evertask::handler]
async fn send<'a>(_email: &'a str) {}

fn main() {}
