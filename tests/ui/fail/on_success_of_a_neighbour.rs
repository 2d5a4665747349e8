#[evertask::handler(on_success = done)]
async fn send() {}

fn main() {}
