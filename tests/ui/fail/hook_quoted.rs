#[evertask::handler(on_failed = "notify_ops")]
async fn send() {}

fn main() {}
