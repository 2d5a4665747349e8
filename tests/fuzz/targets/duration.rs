#![no_main]
//! See `evertask_fuzz::duration`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| evertask_fuzz::duration(data));
