struct State<T>(T);

#[evertask::handler]
async fn send(mailer: State<u32>) {
    drop(mailer);
}

fn main() {}
