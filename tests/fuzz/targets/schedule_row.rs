#![no_main]
//! See `evertask_fuzz::schedule_row`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| evertask_fuzz::schedule_row(data));
