#![no_main]
//! See `evertask_fuzz::schedule_line`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| evertask_fuzz::schedule_line(data));
