#[evertask::handler]
async fn send(_email: std::borrow::Cow<'_, str>) {}

fn main() {}
