struct Mailer;

impl Mailer {
    #[evertask::handler]
    async fn send(email: String) -> Self {
        drop(email);
        Self
    }
}

fn main() {}
