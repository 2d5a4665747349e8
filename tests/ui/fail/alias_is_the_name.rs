#[evertask::handler(aliases = ["send"])]
async fn send() {}

fn main() {}
