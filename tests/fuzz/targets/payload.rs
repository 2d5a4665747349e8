#![no_main]
//! See `evertask_fuzz::payload`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| evertask_fuzz::payload(data));
