#[evertask::handler(name = "mail\nwelcome")]
async fn send() {}

fn main() {}
