#![deny(warnings)]

pub mod tasks {
    /// The address of someone.
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    pub struct Address(pub String);

    #[evertask::handler]
    pub async fn send(to: Address) -> Address {
        to
    }
}

// One `use` brings the fn and the type, under another name too.
use tasks::{Address, send as deliver};

fn main() {
    let _call = deliver(Address("ada@example.com".into()));
    let payload: deliver = deliver::new(Address("ada@example.com".into()));
    assert_eq!(payload.to.0, "ada@example.com");
}
