#![allow(dead_code, non_camel_case_types)]

// Whatever the generated code names, it does not name these.
struct Result;
struct Option;
struct String;
struct Box;
struct Vec;
struct Duration;
struct u32;
fn drop() {}
macro_rules! file { () => { compile_error!("not this one") } }
macro_rules! line { () => { compile_error!("not this one") } }
mod std {}
mod core {}
mod serde {}
mod linkme {}
enum Shadows { Some, None, Ok, Err }
use Shadows::{Err, None, Ok, Some};
trait Into {}
trait Clone {}
trait Future {}
trait Handler {}

#[evertask::handler(timeout = "5m", retries = 3, aliases = ["older"], retry_if = always, on_failed = note)]
async fn send(count: u8, ctx: evertask::Context, name: evertask::State<u16>) -> ::core::result::Result<u8, ::std::fmt::Error> {
    let _ = (&ctx, &name);
    ::core::result::Result::Ok(count)
}

fn always(_: &::std::fmt::Error) -> bool { true }

async fn note(_: &send, _: evertask::Context, _: &evertask::Failure) {}

fn main() {
    let _ = send::new(1);
}
