#[evertask::handler]
async fn send(_count: &u32) {}

fn main() {}
