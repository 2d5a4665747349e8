#[evertask::handler(every = "5m", overlap = allow)]
async fn send() {}

fn main() {}
