#[evertask::handler(cron = "0 3 * * *")]
async fn send(email: String, #[arg(default)] copies: u8, name: Option<String>) {
    drop((email, copies, name));
}

fn main() {}
