//! The laws of storage, put to each storage.

use std::fs;

use evertask::storage::{ManualClock, Memory, conformance::Subject};

async fn memory() -> Subject {
    let clock = ManualClock::new();
    let memory = Memory::with_clock(clock.clock());
    let measured = memory.clone();
    Subject::new(memory, clock).measured_by(move || measured.effort())
}

evertask::storage_conformance!(memory, super::memory);

/// A law that is written but not in the list of the macro would never be tried.
#[test]
fn every_law_is_tried() {
    let laws = concat!(env!("CARGO_MANIFEST_DIR"), "/../evertask/src/storage/conformance");
    let list = fs::read_to_string(format!("{laws}/mod.rs")).unwrap();
    let listed: Vec<&str> = list
        .lines()
        .filter(|line| line.starts_with("                    "))
        .map(|line| line.trim().trim_end_matches([',', ';']))
        .collect();
    let mut written = 0;
    for file in fs::read_dir(laws).unwrap() {
        for line in fs::read_to_string(file.unwrap().path()).unwrap().lines() {
            let law = line.strip_prefix("pub async fn ");
            let Some(law) = law.and_then(|law| law.strip_suffix("(subject: &Subject) {")) else {
                continue;
            };
            assert!(listed.contains(&law), "put `{law}` into the list of `storage_conformance!`");
            written += 1;
        }
    }
    assert!(written >= 100, "only {written} laws were found; is this the right place?");
}
