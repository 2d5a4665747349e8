#[evertask::handler]
async fn send(_emails: Vec<&str>) {}

fn main() {}
