#[evertask::handler(every = "5m", overlap = "alow")]
async fn send() {}

fn main() {}
