use evertask::Handler as _;

#[evertask::handler]
async fn r#move(r#type: String, r#async: u32) -> String {
    format!("{type}{}", r#async)
}

fn main() {
    assert_eq!(r#move::OPTIONS.name, "move");
    let stored = serde_json::to_string(&r#move::new("a", 1)).unwrap();
    assert_eq!(stored, r#"{"type":"a","async":1}"#);
}
