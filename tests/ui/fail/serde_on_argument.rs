#[evertask::handler]
async fn send(#[serde(default)] _email: String) {}

fn main() {}
