#[evertask::handler(missed = "once")]
async fn send() {}

fn main() {}
