trait Mailer {
    #[evertask::handler]
    async fn send(_email: String);
}

fn main() {}
