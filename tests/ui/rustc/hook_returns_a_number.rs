async fn note(_: &send, _: evertask::Context) -> u32 {
    1
}

#[evertask::handler(on_started = note)]
async fn send() {}

fn main() {}
