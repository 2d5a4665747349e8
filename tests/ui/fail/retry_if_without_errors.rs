fn is_transient(_: &String) -> bool {
    true
}

#[evertask::handler(retry_if = is_transient)]
async fn send() {}

fn main() {}
