#[evertask::handler]
fn send(_email: String) {}

fn main() {}
