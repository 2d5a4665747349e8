#[evertask::handler]
async unsafe fn send(_email: String) {}

fn main() {}
