#[evertask::handler]
async fn send(_email: String)
where
    String: Clone,
{
}

fn main() {}
