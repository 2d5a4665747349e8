#![forbid(unsafe_code)]

#[evertask::handler]
async fn send(email: String) {
    drop(email);
}

fn main() {}
