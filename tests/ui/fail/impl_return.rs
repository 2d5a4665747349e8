#[evertask::handler]
async fn send(email: String) -> impl Sized {
    email
}

fn main() {}
