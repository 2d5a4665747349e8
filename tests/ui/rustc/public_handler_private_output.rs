#![allow(private_interfaces)]

#[derive(serde::Serialize, serde::Deserialize)]
struct User;

#[evertask::handler]
pub async fn send() -> User {
    User
}

fn main() {}
