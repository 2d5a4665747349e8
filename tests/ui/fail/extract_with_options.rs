#[evertask::handler]
async fn send(#[extract(now)] _email: evertask::Context) {}

fn main() {}
