#[evertask::handler]
async fn send(#[arg(default)] #[arg(default)] _email: String) {}

fn main() {}
