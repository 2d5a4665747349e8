#[evertask::handler(every = "5m", missed = "onse")]
async fn send() {}

fn main() {}
