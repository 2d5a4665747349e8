fn many() -> String {
    "many".into()
}

#[evertask::handler]
async fn send(#[arg(default = many)] count: u32) {
    drop(count);
}

fn main() {}
