#[evertask::handler(max_attempts = 3)]
async fn send() {}

fn main() {}
