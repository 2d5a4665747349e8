//! Everything that reads what others wrote, each with what has to hold whatever it is given. `tests/anything.rs` gives them a
//! few thousand inputs in every run of the tests; `cargo fuzz` looks for more, for as long as one likes.

mod payload;
mod schedule;
mod schedule_row;
mod task_row;
mod url;

pub use self::{
    payload::payload,
    schedule::{cron, duration, schedule_line},
    schedule_row::schedule_row,
    task_row::task_row,
    url::url,
};

/// Something that reads.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    /// The name of its target.
    pub name: &'static str,
    /// Reads that, and panics if something does not hold.
    pub read: fn(&[u8]),
    /// What it reads in earnest, to begin from.
    pub seeds: &'static [&'static str],
    /// How many inputs a run of the tests gives it.
    pub inputs: usize,
}

/// All that read. What the attribute reads is put to the test in `evertask-macros`.
pub const READERS: &[Reader] = &[
    Reader { name: "cron", read: cron, seeds: schedule::EXPRESSIONS, inputs: 20_000 },
    Reader { name: "schedule_line", read: schedule_line, seeds: schedule::LINES, inputs: 20_000 },
    Reader { name: "duration", read: duration, seeds: schedule::DURATIONS, inputs: 20_000 },
    Reader { name: "url", read: url, seeds: url::URLS, inputs: 2_000 },
    Reader { name: "payload", read: payload, seeds: payload::PAYLOADS, inputs: 500 },
    Reader { name: "schedule_row", read: schedule_row, seeds: schedule_row::BODIES, inputs: 500 },
    Reader { name: "task_row", read: task_row, seeds: &[], inputs: 100 },
];
