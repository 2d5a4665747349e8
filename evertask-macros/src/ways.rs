//! The words of `missed` and `overlap`: what becomes of ticks that were missed, and of those that overlap.

use std::time::Duration;

use evertask_schedule::parse_duration;

use crate::suggest::closest;

/// The library's `Missed`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Missed {
    Skip,
    Once,
    All(Duration),
}

/// The library's `Overlap`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Overlap {
    Skip,
    Allow,
    CancelPrevious,
    QueueOne,
}

/// The longest time over which ticks are spread. The library's `SPREAD_MAX`.
const SPREAD_MAX: Duration = Duration::from_secs(31 * 86_400);

const MISSED: &str = "`skip`, `once` or `all(3h)`";
const OVERLAPS: &[(&str, Overlap)] = &[
    ("skip", Overlap::Skip),
    ("allow", Overlap::Allow),
    ("cancel_previous", Overlap::CancelPrevious),
    ("queue_one", Overlap::QueueOne),
];

/// Reads what becomes of missed ticks; the error says what to write instead.
pub(crate) fn missed(text: &str) -> Result<Missed, String> {
    let text = text.trim();
    match text {
        "skip" => return Ok(Missed::Skip),
        "once" => return Ok(Missed::Once),
        "all" => {
            return Err("`all` needs the time within which they are made up for: `all(3h)`".into());
        }
        _ => {}
    }
    match text.strip_prefix("all(").and_then(|rest| rest.strip_suffix(')')) {
        Some(window) => parse_duration(window).map(Missed::All),
        None => Err(match closest(text, &["skip", "once", "all"]) {
            Some(meant) => format!("`{text}` is not known; did you mean `{meant}`? Write {MISSED}"),
            None => format!("`{text}` is not known; write {MISSED}"),
        }),
    }
}

/// Reads what becomes of ticks that overlap.
pub(crate) fn overlap(text: &str) -> Result<Overlap, String> {
    let text = text.trim();
    if let Some((_, overlap)) = OVERLAPS.iter().find(|(name, _)| *name == text) {
        return Ok(*overlap);
    }
    let names: Vec<&str> = OVERLAPS.iter().map(|(name, _)| *name).collect();
    let meant = closest(text, &names).map(|meant| format!(" (did you mean `{meant}`?)"));
    let meant = meant.unwrap_or_default();
    Err(format!("`{text}` is not known{meant}; write one of `{}`", names.join("`, `")))
}

/// Reads over how long ticks are spread.
pub(crate) fn spread(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        over if over > SPREAD_MAX => {
            Err("ticks are spread over at most 31 days; say less".to_owned())
        }
        over => Ok(over),
    }
}
