#[evertask::handler(every = "0s")]
async fn send() {}

fn main() {}
