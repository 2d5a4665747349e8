#[evertask::handler]
async fn send(_ctx: &evertask::Context) {}

fn main() {}
