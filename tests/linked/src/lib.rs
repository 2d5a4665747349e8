//! Handlers in a dependency: whether the linker keeps them is what the test `linked` asks.
//!
//! None of them is called, dispatched or even named outside this crate. And as this is a library, what is said about public
//! items only is said here: nothing may be.
#![deny(
    warnings,
    elided_lifetimes_in_paths,
    missing_copy_implementations,
    missing_debug_implementations,
    missing_docs,
    single_use_lifetimes,
    trivial_casts,
    unit_bindings,
    unnameable_types,
    unreachable_pub,
    unused_lifetimes,
    unused_qualifications,
    unused_results
)]

use evertask::{Context, Failure, State};

/// One in the root of the crate.
#[evertask::handler(name = "linked.public")]
pub async fn public() {}

/// One that takes and does all there is.
///
/// # Errors
/// There is none.
#[evertask::handler(name = "linked.full", retry_if = always, on_completed = note, on_failed = note_failure)]
pub async fn full(
    count: u32,
    name: Option<String>,
    state: State<u32>,
    ctx: Context,
) -> Result<u32, std::fmt::Error> {
    Ok(count + *state + ctx.attempt() + name.map_or(0, |_| 1))
}

fn always(_: &std::fmt::Error) -> bool {
    true
}

async fn note(_: &full, _: Context, _: &u32) {}

async fn note_failure(_: &full, _: Context, _: &Failure) {}

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
