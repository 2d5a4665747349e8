//! Handlers in a dependency: whether the linker keeps them is what the test `linked` asks.
//!
//! None of them is called, dispatched or even named outside this crate.

/// One in the root of the crate.
#[evertask::handler(name = "linked.public")]
pub async fn public() {}

mod hidden {
    /// One that cannot be named from outside.
    #[evertask::handler(name = "linked.private")]
    async fn private(number: u32) -> u32 {
        number
    }
}

/// One inside an fn that nobody calls.
pub fn never_called() {
    #[evertask::handler(name = "linked.nested")]
    async fn nested(text: String) {
        drop(text);
    }
}
