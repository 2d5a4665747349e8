#[evertask::handler]
async fn greet() -> &'static str {
    "hello"
}

#[evertask::handler]
async fn count() -> Result<Vec<&'static str>, &'static str> {
    Err("not today")
}

fn main() {}
