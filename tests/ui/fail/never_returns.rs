#[evertask::handler]
async fn send(email: String) -> ! {
    panic!("{email}")
}

fn main() {}
