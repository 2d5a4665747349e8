#[evertask::handler(retry_if = is_transient)]
async fn send() -> Result<(), String> {
    Ok(())
}

fn main() {}
