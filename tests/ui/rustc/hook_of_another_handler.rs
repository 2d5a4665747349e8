#[evertask::handler]
async fn other() {}

async fn note(_: &other, _: evertask::Context) {}

#[evertask::handler(on_started = note)]
async fn send() {}

fn main() {}
