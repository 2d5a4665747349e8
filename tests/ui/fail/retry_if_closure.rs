#[evertask::handler(retry_if = |_| true)]
async fn send(email: String) -> Result<(), String> {
    Err(email)
}

fn main() {}
