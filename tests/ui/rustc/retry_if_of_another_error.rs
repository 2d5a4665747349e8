fn is_transient(_: &std::fmt::Error) -> bool {
    true
}

#[evertask::handler(retry_if = is_transient)]
async fn send() -> Result<(), String> {
    Ok(())
}

fn main() {}
