#[evertask::handler(name = welcome)]
async fn send() {}

fn main() {}
