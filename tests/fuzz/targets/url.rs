#![no_main]
//! See `evertask_fuzz::url`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| evertask_fuzz::url(data));
