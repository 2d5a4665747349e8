//! Schedules, seen from outside.

mod clocks;
mod cron;
mod croner;
mod fluent;
mod lessons;
mod properties;
mod recorded;
mod stored;
mod words;
mod zones;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, TimeZone, Utc};
use chrono_tz::Tz;
use evertask_schedule::{IntoSchedule, Schedule};

/// An instant, such as `2026-03-29T01:00:00Z`.
#[track_caller]
fn at(text: &str) -> SystemTime {
    DateTime::parse_from_rfc3339(text).unwrap().into()
}

fn seconds(at: SystemTime) -> i64 {
    DateTime::<Utc>::from(at).timestamp()
}

fn instant(seconds: i64) -> SystemTime {
    let away = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { UNIX_EPOCH - away } else { UNIX_EPOCH + away }
}

/// An instant as the wall shows it: `2026-03-29 03:00:00 +0200`.
fn on_the_wall(at: SystemTime, zone: Tz) -> String {
    let utc = DateTime::<Utc>::from(at).naive_utc();
    zone.from_utc_datetime(&utc).format("%Y-%m-%d %H:%M:%S %z").to_string()
}

/// The next ticks, in words for who reads a failure; seconds only where there are some.
#[track_caller]
fn ticks(schedule: impl IntoSchedule, after: &str, count: usize) -> Vec<String> {
    let schedule = schedule.into_schedule().unwrap();
    let zone: Tz = schedule.zone().unwrap_or("UTC").parse().unwrap();
    let shown = |at| on_the_wall(at, zone).replace(":00 +", " +").replace(":00 -", " -");
    let without_utc = |text: String| text.strip_suffix(" +0000").map(str::to_owned).unwrap_or(text);
    schedule.after(at(after)).take(count).map(shown).map(without_utc).collect()
}

#[track_caller]
fn check(schedule: impl IntoSchedule, after: &str, expected: &[&str]) {
    assert_eq!(ticks(schedule, after, expected.len()), expected);
}

fn cron(expression: &str) -> Schedule {
    evertask_schedule::cron(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
}

fn cron_in(expression: &str, zone: &str) -> Schedule {
    cron(expression).tz(zone).unwrap()
}
