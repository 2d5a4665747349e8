struct Mailer;

impl Mailer {
    #[evertask::handler]
    async fn send(&self, _email: String) {}
}

fn main() {}
