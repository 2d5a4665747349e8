#![no_main]
//! See `evertask_fuzz::task_row`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| evertask_fuzz::task_row(data));
