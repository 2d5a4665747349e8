#[evertask::handler]
async fn send(#[arg(defualt)] _email: String) {}

fn main() {}
