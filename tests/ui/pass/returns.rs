use std::fmt;

use evertask::{Handler, TaskError};

type Alias<T> = Result<T, TaskError>;

mod io {
    pub type Result<T> = std::result::Result<T, std::io::Error>;
}

/// No `std::error::Error` itself, but can be made into one, as those of some libraries.
#[derive(Debug)]
struct Report(String);

impl From<Report> for Box<dyn std::error::Error + Send + Sync> {
    fn from(report: Report) -> Self {
        report.0.into()
    }
}

#[derive(Debug)]
struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for Failed {}

#[evertask::handler]
async fn nothing() {}

#[evertask::handler]
async fn unit() -> () {}

#[evertask::handler]
async fn value() -> Vec<u32> {
    vec![1]
}

#[evertask::handler]
async fn option() -> Option<Result<u8, String>> {
    None
}

#[evertask::handler]
async fn alias() -> Alias<u8> {
    Ok(1)
}

#[evertask::handler]
async fn alias_of_a_module() -> io::Result<u16> {
    Ok(1)
}

#[evertask::handler]
async fn text_error() -> Result<u32, String> {
    Err("no".into())
}

#[evertask::handler]
async fn own_error() -> Result<u64, Failed> {
    Err(Failed)
}

#[evertask::handler]
async fn like_anyhow() -> Result<(), Report> {
    Err(Report("no".into()))
}

#[evertask::handler]
async fn boxed() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    Err("no".into())
}

fn output<H: Handler<Output = T>, T>() {}

fn main() {
    output::<nothing, ()>();
    output::<unit, ()>();
    output::<value, Vec<u32>>();
    output::<option, Option<Result<u8, String>>>();
    output::<alias, u8>();
    output::<alias_of_a_module, u16>();
    output::<text_error, u32>();
    output::<own_error, u64>();
    output::<like_anyhow, ()>();
    output::<boxed, ()>();
}
