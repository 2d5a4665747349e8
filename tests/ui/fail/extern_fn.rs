#[evertask::handler]
async extern "C" fn send(_email: String) {}

fn main() {}
