#[evertask::handler]
async fn send(#[arg(default)] _mailer: evertask::State<u32>) {}

fn main() {}
