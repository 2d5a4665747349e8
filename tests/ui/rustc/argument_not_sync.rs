#[evertask::handler]
async fn send(count: std::cell::Cell<u32>) {
    drop(count);
}

fn main() {}
