fn note(_: &send, _: evertask::Context) {}

#[evertask::handler(on_started = note)]
async fn send() {}

fn main() {}
