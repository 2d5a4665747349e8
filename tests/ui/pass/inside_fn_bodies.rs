use evertask::Handler as _;
use serde::{Deserialize, Serialize};

fn one() -> &'static str {
    #[derive(Serialize, Deserialize)]
    struct Local(u32);

    #[evertask::handler(name = "one")]
    async fn inner(local: Local) -> Local {
        local
    }

    let _ = inner::new(Local(1));
    inner::OPTIONS.name
}

fn two() -> &'static str {
    #[evertask::handler(name = "two")]
    async fn inner() {}

    inner::OPTIONS.name
}

fn main() {
    assert_eq!((one(), two()), ("one", "two"));
    let closure = || {
        #[evertask::handler(name = "three")]
        async fn inner() {}
        inner::OPTIONS.name
    };
    assert_eq!(closure(), "three");
}
