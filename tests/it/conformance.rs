//! The laws of storage, put to each storage.

use evertask::storage::{ManualClock, Memory, conformance::Subject};

async fn memory() -> Subject {
    let clock = ManualClock::new();
    let memory = Memory::with_clock(clock.clock());
    let measured = memory.clone();
    Subject::new(memory, clock).measured_by(move || measured.effort())
}

evertask::storage_conformance!(memory, super::memory);
