#[evertask::handler]
async fn send(_mailer: &evertask::State<u32>) {}

fn main() {}
