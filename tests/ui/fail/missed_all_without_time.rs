#[evertask::handler(every = "5m", missed = "all", overlap = "allow")]
async fn send() {}

fn main() {}
