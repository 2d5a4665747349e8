#![deny(unused_must_use)]

#[evertask::handler]
async fn send() {}

fn signup() {
    send::dispatch();
}

fn main() {}
