#[evertask::handler(priority = 40000)]
async fn send() {}

fn main() {}
