use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct String(u32);

impl From<u32> for String {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

#[evertask::handler]
async fn send(name: String) {
    drop(name);
}

fn main() {
    assert_eq!(send::new(1_u32).name, String(1));
    assert_eq!(send::new(String(1)).name, String(1));
}
