async fn note(_: &send, _: evertask::Context) {
    let note = std::rc::Rc::new(());
    std::future::ready(()).await;
    drop(note);
}

#[evertask::handler(on_started = note)]
async fn send() {}

fn main() {}
