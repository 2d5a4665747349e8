struct User;

#[evertask::handler]
async fn send(user: User) {
    drop(user);
}

fn main() {}
