#[evertask::handler]
async fn send<T>(_email: T) {}

fn main() {}
