#[evertask::handler]
struct Send {
    _email: String,
}

fn main() {}
