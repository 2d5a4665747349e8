struct Bounced;

#[evertask::handler]
async fn send() -> Result<(), Bounced> {
    Err(Bounced)
}

fn main() {}
