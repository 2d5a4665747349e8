// A `State` of nothing is not ours, and so it is payload.
#[derive(serde::Serialize, serde::Deserialize)]
enum State {
    Bern,
}

#[evertask::handler]
async fn census(of: State) {
    drop(of);
}

fn main() {
    assert_eq!(serde_json::to_string(&census::new(State::Bern)).unwrap(), r#"{"of":"Bern"}"#);
}
