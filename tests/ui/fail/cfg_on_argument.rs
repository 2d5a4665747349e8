#[evertask::handler]
async fn send(#[cfg(unix)] _email: String) {}

fn main() {}
