#![no_main]
//! What the attribute reads. Its rooms are compiled in here, since no crate can call the code of a macro's.
#![allow(dead_code, reason = "the attribute itself is not here")]

#[path = "../../../evertask-macros/src/tests/anything.rs"]
mod anything;
#[path = "../../../evertask-macros/src/backoff.rs"]
mod backoff;
#[path = "../../../evertask-macros/src/check.rs"]
mod check;
#[path = "../../../evertask-macros/src/errors.rs"]
mod errors;
#[path = "../../../evertask-macros/src/expand.rs"]
mod expand;
#[path = "../../../evertask-macros/src/fallback.rs"]
mod fallback;
#[path = "../../../evertask-macros/src/model.rs"]
mod model;
#[path = "../../../evertask-macros/src/options.rs"]
mod options;
#[path = "../../../evertask-macros/src/parse.rs"]
mod parse;
#[path = "../../../evertask-macros/src/suggest.rs"]
mod suggest;
#[path = "../../../evertask-macros/src/value.rs"]
mod value;
#[path = "../../../evertask-macros/src/ways.rs"]
mod ways;

libfuzzer_sys::fuzz_target!(|text: &str| anything::attribute(text));
