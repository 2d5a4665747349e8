#[evertask::handler]
async fn send((_email, _name): (String, String)) {}

fn main() {}
