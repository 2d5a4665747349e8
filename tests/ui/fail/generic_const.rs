#[evertask::handler]
async fn send<const N: usize>(_email: [u8; N]) {}

fn main() {}
