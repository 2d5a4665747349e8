struct Send;

#[evertask::handler]
impl Send {
    async fn send(_email: String) {}
}

fn main() {}
