#[evertask::handler("mail")]
async fn send() {}

fn main() {}
