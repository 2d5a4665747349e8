#[evertask::handler]
async fn send(email: String, count: u32) {
    drop((email, count));
}

fn signup() {
    let _ = send::dispatch("ada@example.com", "3");
}

fn main() {}
