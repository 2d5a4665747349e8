#[evertask::handler(crate = "evertask")]
async fn send() {}

fn main() {}
