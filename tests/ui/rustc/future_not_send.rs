#[evertask::handler]
async fn send(email: String) {
    let email = std::rc::Rc::new(email);
    std::future::ready(()).await;
    drop(email);
}

fn main() {}
