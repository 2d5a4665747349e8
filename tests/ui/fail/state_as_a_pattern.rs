use evertask::State;

#[evertask::handler]
async fn send(State(_mailer): State<u32>) {}

fn main() {}
