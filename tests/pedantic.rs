//! Handlers in a crate that denies every lint there is a reason to deny: `cargo clippy` on this file is the test.

#![deny(warnings, missing_docs, clippy::all, clippy::pedantic, clippy::nursery)]

use evertask::{Context, Failure, Handler as _, State};

/// What it greets with.
#[derive(Debug)]
pub struct Greeting(pub String);

/// Greets someone.
///
/// # Errors
/// Nobody is there.
#[evertask::handler(timeout = "5m", retries = 3, queue = "mail", retry_if = is_transient, on_started = note_start, on_failed = note_failure)]
pub async fn greet(
    name: String,
    mut times: u8,
    _unused: Option<u64>,
    #[arg(default)] r#type: Vec<String>,
    greeting: State<Greeting>,
    ctx: Context,
) -> Result<String, std::io::Error> {
    times += 1;
    let Greeting(greeting) = &*greeting;
    Ok(format!("{greeting}, {name} ({times}, {:?}, {})", r#type, ctx.attempt()))
}

fn is_transient(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::Interrupted
}

async fn note_start(payload: &greet, ctx: Context) {
    std::future::ready(()).await;
    println!("{} {}", payload.name, ctx.id());
}

async fn note_failure(payload: &greet, _: Context, failure: &Failure) -> Result<(), String> {
    std::future::ready(()).await;
    Err(format!("{} {failure}", payload.name))
}

#[evertask::handler]
async fn nothing() {}

#[evertask::handler]
async fn many(
    one: u8,
    two: u8,
    three: u8,
    four: u8,
    five: u8,
    six: u8,
    seven: u8,
    eight: u8,
    nine: String,
) -> u8 {
    drop(nine);
    one + two + three + four + five + six + seven + eight
}

#[test]
fn a_strict_crate_compiles() {
    assert_eq!(greet::OPTIONS.queue, "mail");
    assert_eq!(nothing::OPTIONS.queue, "default");
    assert_eq!(many::new(1, 2, 3, 4, 5, 6, 7, 8, "nine").nine, "nine");
}
