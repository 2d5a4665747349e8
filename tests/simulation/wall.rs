//! The night in which the clocks of Rome go back, written down by hand: what the library's calendar says is held against this.
//!
//! On 25 October 2026, at 01:00 UTC, they go from 03:00 back to 02:00, so that the wall shows an hour twice. Histories begin
//! shortly before.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) const ZONE: &str = "Europe/Rome";
/// 2026-10-25T01:00:00Z, in seconds since 1970.
const BACK: i64 = 1_792_890_000;
/// How long before that a history begins.
const BEFORE: i64 = 20;

/// Times of day that the wall shows twice in that night; when it does so first, and when again, in seconds from the moment in
/// which the clocks go back.
const TIMES: [(&str, i64, i64); 6] = [
    ("02:00:02", -3_598, 2),
    ("02:00:07", -3_593, 7),
    ("02:59:45", -15, 3_585),
    ("02:59:49", -11, 3_589),
    ("02:59:53", -7, 3_593),
    ("02:59:57", -3, 3_597),
];

fn at(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs((BACK + seconds).unsigned_abs())
}

/// When histories begin.
pub(crate) fn begin() -> SystemTime {
    at(-BEFORE)
}

/// The clocks go back.
pub(crate) fn back() -> SystemTime {
    at(0)
}

/// When a schedule ends that comes up at these times: before they come again, a day later.
pub(crate) fn until() -> SystemTime {
    at(7_200)
}

pub(crate) fn times() -> [&'static str; TIMES.len()] {
    TIMES.map(|(time, ..)| time)
}

/// Whether the wall shows one of these times then, and for the first time.
pub(crate) fn is_first(tick: SystemTime) -> bool {
    TIMES.iter().any(|(_, first, _)| at(*first) == tick)
}

/// Which of these times the wall shows again next after an instant, and when.
pub(crate) fn again(after: SystemTime) -> Option<SystemTime> {
    TIMES.iter().map(|(.., again)| at(*again)).filter(|again| *again > after).min()
}
