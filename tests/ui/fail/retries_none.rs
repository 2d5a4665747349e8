#[evertask::handler(retries = none)]
async fn send() {}

fn main() {}
