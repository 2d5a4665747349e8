#[evertask::handler(every = 5)]
async fn send() {}

fn main() {}
