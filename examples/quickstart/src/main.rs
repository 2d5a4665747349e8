//! The README's example: one handler, one dispatch, one file in which it is stored.
//!
//! Run with `cargo run -p quickstart`.

use std::time::Duration;

use evertask::{Runtime, storage::Sqlite};

/// Greets someone. Its arguments are stored with the task, its return value when it completes.
#[evertask::handler(timeout = "5m", retries = 3)]
async fn greet(name: String) -> String {
    format!("hello, {name}")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let runtime = Runtime::builder().storage(Sqlite::open("quickstart.db").await?).start().await?;

    let now = greet::dispatch("Ada").await?;
    let later = greet::dispatch("Bob").after(Duration::from_secs(2)).await?;
    println!("{}", now.output().await?);
    println!("{}", later.output().await?);

    runtime.shutdown().await?;
    Ok(())
}
