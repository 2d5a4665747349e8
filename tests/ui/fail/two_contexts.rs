#[evertask::handler]
async fn send(_one: evertask::Context, _two: evertask::Context) {}

fn main() {}
