//! Durations as people write them: `500ms`, `5m`, `1h 30m`, `2 days`, `1w`.

use std::time::Duration;

/// The longest duration that can be stored, 100 years. The library's `DELAY_MAX`.
const MAX: Duration = Duration::from_secs(100 * 366 * 86_400);

/// The units, the larger first: in nanoseconds, with every spelling.
const UNITS: &[(u128, &[&str])] = &[
    (604_800 * SECOND, &["w", "week", "weeks"]),
    (86_400 * SECOND, &["d", "day", "days"]),
    (3_600 * SECOND, &["h", "hr", "hrs", "hour", "hours"]),
    (60 * SECOND, &["m", "min", "mins", "minute", "minutes"]),
    (SECOND, &["s", "sec", "secs", "second", "seconds"]),
    (1_000_000, &["ms", "millis", "millisecond", "milliseconds"]),
    (1_000, &["us", "µs", "micros", "microsecond", "microseconds"]),
    (1, &["ns", "nanos", "nanosecond", "nanoseconds"]),
];
const SECOND: u128 = 1_000_000_000;

/// Reads a duration such as `5m` or `1h 30m`; the error says what is wrong and what to write instead.
///
/// # Errors
///
/// Says what cannot be read.
pub fn parse(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("the duration is empty; write one such as `5m`".into());
    }
    if rest.starts_with('-') {
        return Err(format!("`{rest}` is negative; durations are not"));
    }
    let mut nanos = 0_u128;
    let mut last_unit = None;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit());
        if number.is_empty() {
            return Err(format!("`{text}` is not a duration; write one such as `5m` or `1h 30m`"));
        }
        if after.starts_with(['.', ',']) {
            return Err(format!(
                "`{text}` has a fraction; write whole numbers, `1h 30m` and not `1.5h`"
            ));
        }
        let (word, after) = split(after.trim_start(), char::is_alphabetic);
        let unit = unit(number, word)?;
        if last_unit.is_some_and(|last| unit >= last) {
            return Err(format!(
                "`{text}` is out of order; write each unit once, the larger first"
            ));
        }
        last_unit = Some(unit);
        let count: u128 = number.parse().map_err(|_| too_long(text))?;
        nanos = count.checked_mul(unit).and_then(|n| n.checked_add(nanos)).unwrap_or(u128::MAX);
        if nanos > MAX.as_nanos() {
            return Err(too_long(text));
        }
        rest = after.trim_start();
    }
    let (secs, nanos) = (nanos / SECOND, nanos % SECOND);
    // Both fit: the whole is at most 100 years.
    Ok(Duration::new(secs as u64, nanos as u32))
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

fn unit(number: &str, word: &str) -> Result<u128, String> {
    if let Some((nanos, _)) = UNITS.iter().find(|(_, spellings)| spellings.contains(&word)) {
        return Ok(*nanos);
    }
    Err(match word {
        "" => format!("`{number}` has no unit; write `{number}s` if you mean seconds"),
        "M" | "mo" | "month" | "months" | "y" | "yr" | "year" | "years" => {
            format!("`{word}` is not always equally long; say it in days, such as `30d`")
        }
        _ => format!("`{word}` is not a unit of time; use `w`, `d`, `h`, `m`, `s` or `ms`"),
    })
}

fn too_long(text: &str) -> String {
    format!("`{text}` is too long; at most 100 years fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        parse(text).unwrap_err()
    }

    #[test]
    fn what_people_write_is_read() {
        let secs = |n| Ok(Duration::from_secs(n));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("5m"), secs(300));
        assert_eq!(parse("1h30m"), secs(5_400));
        assert_eq!(parse(" 1h 30m "), secs(5_400));
        assert_eq!(parse("2 days"), secs(172_800));
        assert_eq!(parse("1w"), secs(604_800));
        assert_eq!(parse("1w 1d 1h 1m 1s"), secs(604_800 + 86_400 + 3_600 + 61));
        assert_eq!(parse("3µs"), Ok(Duration::from_micros(3)));
        assert_eq!(parse("0s"), secs(0));
        assert_eq!(parse("36600d"), Ok(MAX));
    }

    #[test]
    fn every_spelling_is_of_one_unit() {
        let all: Vec<_> = UNITS.iter().flat_map(|(_, spellings)| *spellings).collect();
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(all.len(), distinct.len());
        assert!(UNITS.is_sorted_by(|one, next| one.0 > next.0), "the larger first");
    }

    #[test]
    fn what_cannot_be_read_says_what_to_write() {
        assert!(said("").contains("empty"));
        assert!(said("soon").contains("is not a duration"));
        assert!(said("1_000s").contains("`1` has no unit"));
        assert!(said("5").contains("`5s`"));
        assert!(said("-5m").contains("negative"));
        assert!(said("1.5h").contains("`1h 30m`"));
        assert!(said("1 month").contains("days"));
        assert!(said("2y").contains("days"));
        assert!(said("5 parsecs").contains("`parsecs` is not a unit"));
        assert!(said("5m 1h").contains("the larger first"));
        assert!(said("5m5m").contains("each unit once"));
        assert!(said("36601d").contains("100 years"));
        assert!(said("99999999999999999999999999999999999999999999w").contains("100 years"));
        assert!(said("340282366920938463463374607431768211455w").contains("100 years"));
    }
}
