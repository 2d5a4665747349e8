struct User;

#[evertask::handler]
async fn send(
    email: String,
    user: User,
    count: u32,
) {
    drop((email, user, count));
}

fn main() {}
