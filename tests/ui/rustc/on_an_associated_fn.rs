struct Mailer;

impl Mailer {
    #[evertask::handler]
    async fn send(email: String) {
        drop(email);
    }
}

fn main() {}
