#![no_main]
//! See `evertask_fuzz::cron`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| evertask_fuzz::cron(data));
