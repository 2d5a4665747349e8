struct User;

#[evertask::handler]
async fn send() -> Result<User, String> {
    Ok(User)
}

fn main() {}
