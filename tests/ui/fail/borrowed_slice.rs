#[evertask::handler]
async fn send(_emails: &[String]) {}

fn main() {}
