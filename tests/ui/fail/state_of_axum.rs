mod axum {
    pub mod extract {
        pub struct State<T>(pub T);
    }
}

#[evertask::handler]
async fn send(_mailer: axum::extract::State<u32>) {}

fn main() {}
