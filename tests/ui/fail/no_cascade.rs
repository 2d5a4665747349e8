#[evertask::handler]
fn send(email: &str, (name, n): (String, u32)) -> Result<(), String> {
    let _ = (email, name, n);
    Ok(())
}

async fn signup() {
    send("ada@example.com", ("Ada".into(), 1)).unwrap();
    let task = send::dispatch("ada@example.com", ("Ada".into(), 1)).await.unwrap();
    println!("{}", task.id());
    let _ = evertask::dispatch(send::new("ada@example.com", ("Ada".into(), 1)));
}

fn main() {}
