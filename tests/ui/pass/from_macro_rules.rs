use evertask::Handler as _;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub struct Here(u32);

macro_rules! handler {
    ($name:ident, $ty:ty, $timeout:literal, $retries:literal) => {
        #[evertask::handler(timeout = $timeout, retries = $retries)]
        async fn $name(value: $ty, list: Vec<$ty>, here: $crate::Here, text: String) -> $ty {
            drop((list, here, text));
            value
        }
    };
}

handler!(small, u8, "5m", 3);
handler!(text, std::string::String, "10s", 0);

fn main() {
    assert_eq!(small::OPTIONS.retries, Some(3));
    assert_eq!(text::OPTIONS.retries, Some(0));
    let payload = text::new("a", vec![], Here(1), "b");
    assert_eq!(serde_json::to_string(&payload).unwrap(), r#"{"value":"a","list":[],"here":1,"text":"b"}"#);
}
