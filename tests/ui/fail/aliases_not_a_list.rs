#[evertask::handler(aliases = "old_name")]
async fn send() {}

fn main() {}
