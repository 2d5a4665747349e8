struct User;

#[evertask::handler]
async fn send() -> User {
    User
}

fn main() {}
