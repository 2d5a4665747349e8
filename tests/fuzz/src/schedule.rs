//! Rules as text: cron, the stored line, durations.

use std::time::{Duration, SystemTime};

use evertask::schedule::{self, Schedule, ScheduleError};

pub(crate) const EXPRESSIONS: &[&str] = &[
    "*/15 9-17 * * Mon-Fri",
    "0 0 3 1,15 * ? 2030-2040/2",
    "0 12 L * *",
    "0 12 LW Jan,Jul *",
    "0 12 15W * 5L",
    "30 4 1-7 * FRI#2",
    "0 22-4/2 * Nov-Feb 7",
    "@every 1h 30m",
    "@daily",
];

pub(crate) const LINES: &[&str] = &[
    "v1 weeks 2 on Fri at 18:00 tz Europe/Rome",
    "v1 every 90s from 2030-01-01T00:00:00Z",
    "v1 cron 0 3 * * * tz Europe/Rome",
];

pub(crate) const DURATIONS: &[&str] = &["5m", "1h 30m", "2 days", "1w 1ns", "500ms"];

/// A cron expression.
///
/// # Panics
/// If something does not hold.
pub fn cron(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match schedule::cron(text) {
        Ok(schedule) => is_whole(&schedule),
        Err(error) => is_of_use(&error, text),
    }
}

/// The stored line of a schedule.
///
/// # Panics
/// If something does not hold.
pub fn schedule_line(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match Schedule::from_wire(text) {
        Ok(schedule) => is_whole(&schedule),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A duration.
///
/// # Panics
/// If something does not hold.
pub fn duration(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match evertask_schedule::parse_duration(text) {
        Ok(duration) => {
            let again = evertask_schedule::parse_duration(&format!("{}ns", duration.as_nanos()));
            assert_eq!(again, Ok(duration), "{text:?}");
        }
        Err(why) => assert!(!why.is_empty() && why.len() < 300 + 3 * text.len(), "{why}"),
    }
}

/// What holds for every schedule: its instants go up, it is known by its line, and it can be said in words.
fn is_whole(schedule: &Schedule) {
    let line = schedule.to_wire();
    assert_eq!(Schedule::from_wire(&line).as_ref(), Ok(schedule), "{line}");
    assert!(!schedule.to_string().is_empty(), "{line}");
    // In 2025; and as far as instants go.
    for start in [1_750_000_000, 0, u64::from(u32::MAX) * 60] {
        let mut last = SystemTime::UNIX_EPOCH + Duration::from_secs(start);
        for next in schedule.after(last).take(5) {
            assert!(next > last && schedule.contains(next), "{line}: {last:?}, {next:?}");
            last = next;
        }
    }
}

fn is_of_use(error: &ScheduleError, text: &str) {
    assert!(!error.problem().is_empty(), "{text:?}");
    if let Some(span) = error.span() {
        assert!(text.get(span).is_some(), "{text:?}: {error:?}");
        assert!(error.pointed().is_some_and(|pointed| pointed.starts_with(text)), "{error:?}");
    }
}
