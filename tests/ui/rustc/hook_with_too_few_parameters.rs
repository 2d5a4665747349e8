async fn note(_: &send, _: evertask::Context) {}

#[evertask::handler(on_completed = note)]
async fn send() {}

fn main() {}
