#[evertask::handler(every = "5m", missed = "all(3h)")]
async fn send() {}

fn main() {}
