#[evertask::handler]
async fn send(_one: evertask::Context, __two: evertask::Context) {}

fn main() {}
