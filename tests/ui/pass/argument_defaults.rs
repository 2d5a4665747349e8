mod defaults {
    pub fn seven() -> u32 {
        7
    }
}

type Maybe<T> = Option<T>;

#[evertask::handler]
async fn send(
    email: String,
    #[arg(default)] copies: u8,
    #[arg(default = defaults::seven)] tries: u32,
    name: Option<String>,
    title: Maybe<String>,
) {
    drop((email, copies, tries, name, title));
}

fn main() {
    // A payload of last year, when there was only the address.
    let old: send = serde_json::from_str(r#"{"email":"a"}"#).unwrap();
    assert_eq!((old.copies, old.tries, old.name, old.title), (0, 7, None, None));
    // A payload of next year, with something more.
    let new: send = serde_json::from_str(r#"{"email":"a","later":[1,2]}"#).unwrap();
    assert_eq!(new.email, "a");
    assert!(serde_json::from_str::<send>("{}").is_err());
}
