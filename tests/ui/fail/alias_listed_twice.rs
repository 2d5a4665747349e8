#[evertask::handler(aliases = ["old_name", "old_name"])]
async fn send() {}

fn main() {}
