//! Cron expressions, as a Unix user means them.
//!
//! The `cron` crate reads lists, ranges and steps. What it reads otherwise than crontab is not left to it: weekdays (its 1 is
//! Sunday), days that match both fields instead of either, ranges that wrap, `L`, `W` and `#`, zones.

use ::cron::TimeUnitSpec;

use crate::{
    calendar::Calendar,
    dates::Dates,
    duration,
    error::{Field, ScheduleError},
    field::{self, Text, Wrong},
    month::{ByDate, ByWeekday, CronDays},
    names::{Set, Weekday},
    schedule::Schedule,
    times::Times,
    zone::Zone,
};

/// No expression needs more: all numbers of all fields are some 700 bytes.
const LENGTH_MAX: usize = 1024;

/// Reads a cron expression.
///
/// | fields | |
/// |---|---|
/// | 5 | minute, hour, day of month, month, day of week, as in a crontab |
/// | 6 | a second before them |
/// | 7 | and a year (1970 to 2100) after them |
///
/// In a field stand `*`, numbers, names (`JAN`, `MON`), ranges, which may wrap (`22-2`, `FRI-MON`), steps (`*/15`, `9-17/2`,
/// `5/10` for 5, 15, 25, …), and lists of them. Days of the week are 0 to 7, where 0 and 7 are Sunday. Days also know:
///
/// | | |
/// |---|---|
/// | `L`, `L-3` | the last day of the month, three days before it |
/// | `15W`, `LW` | the weekday (Monday to Friday) of the month nearest to the 15th, to the last day |
/// | `5L`, `FRIL` | the last Friday of the month |
/// | `FRI#2` | the second Friday of the month |
/// | `?` | `*` |
///
/// Instead of fields: `@yearly` (`@annually`), `@monthly`, `@weekly`, `@daily` (`@midnight`), `@hourly`, and `@every 5m` for a
/// [fixed interval](Schedule::every).
///
/// **Both day fields.** Where both say which days, a day that fits *one* of them fits: `0 0 13 * FRI` is every 13th and every
/// Friday. That is crontab's rule; Quartz, Cronos and the crate `cron` mean Friday the 13th by it. As in crontab, a field that
/// begins with `*` says nothing: `0 0 */2 * MON` is every Monday with an odd date.
///
/// **When clocks change.** Like all schedules: see [the module](crate). An expression goes through the hours if its hour field has
/// a `*` or a step, or holds all hours; otherwise it names them.
///
/// ```
/// # mod evertask { pub use evertask_schedule as schedule; }
/// # fn main() -> Result<(), evertask_schedule::ScheduleError> {
/// use evertask::schedule::cron;
///
/// let schedule = cron("0 3 * * *")?.tz("Europe/Rome")?;
/// assert_eq!(schedule.to_string(), "every day at 03:00 (Europe/Rome)");
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// It says which field is wrong, and where. An expression that never fires, such as `0 0 30 2 *`, is refused too.
pub fn cron(expression: &str) -> Result<Schedule, ScheduleError> {
    read(expression).map_err(|Wrong { error, span }| error.within(expression, span))
}

fn read(expression: &str) -> Result<Schedule, Wrong> {
    let whole = |problem: String| Wrong {
        error: ScheduleError::new(Field::Expression, problem),
        span: 0..expression.len(),
    };
    if expression.len() > LENGTH_MAX {
        return Err(whole(format!("it is longer than {LENGTH_MAX} bytes")));
    }
    let trimmed = expression.trim();
    if let Some(zone) = trimmed.split_ascii_whitespace().next_back().filter(|last| is_zone(last)) {
        let at = zone.as_ptr() as usize - expression.as_ptr() as usize;
        let problem = format!(
            "`{zone}` is a time zone, which no field of an expression is; give it by `.tz(\"{zone}\")` or `tz = \"{zone}\"`"
        );
        let error = ScheduleError::new(Field::Zone, problem);
        return Err(Wrong { error, span: at..at + zone.len() });
    }
    if trimmed.starts_with('@') {
        return short(trimmed, whole);
    }
    if let Some((before, _)) = trimmed.split_once('=') {
        let problem = format!(
            "`{before}=` does not belong here; give the zone by `.tz(..)` or `tz = \"..\"`"
        );
        return Err(whole(problem));
    }
    let capitals = expression.to_ascii_uppercase();
    let mut texts: Vec<(usize, &str)> = capitals
        .split_ascii_whitespace()
        .map(|text| (text.as_ptr() as usize - capitals.as_ptr() as usize, text))
        .collect();
    let canonical: Vec<&str> = texts.iter().map(|(_, text)| *text).collect();
    let canonical = canonical.join(" ");
    match texts.len() {
        5 => {
            texts.insert(0, (0, "0"));
            texts.push((0, "*"));
        }
        6 => texts.push((0, "*")),
        7 => {}
        0 => return Err(whole("it is empty; write one such as `0 3 * * *`".into())),
        n => {
            let fields = if n == 1 { "field" } else { "fields" };
            return Err(whole(format!(
                "it has {n} {fields}; write 5 (minute, hour, day of month, month, day of week), 6 with the second first, or 7 with the year last"
            )));
        }
    }
    let field = |n: usize, kind| Text { text: texts[n].1, at: texts[n].0, kind };
    let (second, minute, hour) =
        (field(0, &field::SECOND), field(1, &field::MINUTE), field(2, &field::HOUR));
    let (date, month, weekday, year) = (
        field(3, &field::DATE),
        field(4, &field::MONTH),
        field(5, &field::WEEKDAY),
        field(6, &field::YEAR),
    );
    let (dates, by_date) = read_dates(date)?;
    let (weekdays, by_weekday) = read_weekdays(weekday)?;
    let rewritten = [
        list(second)?,
        list(minute)?,
        list(hour)?,
        dates.clone().unwrap_or_else(|| "*".into()),
        list(month)?,
        weekdays.clone().unwrap_or_else(|| "*".into()),
        list(year)?,
    ];
    let sets: ::cron::Schedule =
        rewritten.join(" ").parse().map_err(|error| whole(format!("{error}")))?;
    let hours: Set = sets.hours().iter().collect();
    let days = CronDays {
        by_date: ByDate {
            days: dates.map(|_| sets.days_of_month().iter().collect()).unwrap_or_default(),
            ..by_date
        },
        by_weekday: ByWeekday {
            // Its Sunday is 1, our Monday 0.
            days: weekdays
                .map(|_| sets.days_of_week().iter().map(|day| (day + 5) % 7).collect())
                .unwrap_or_default(),
            ..by_weekday
        },
        either: !date.is_open() && !weekday.is_open(),
    };
    let years =
        if year.text == "*" { vec![] } else { sets.years().iter().map(|y| y as i32).collect() };
    let calendar = Calendar {
        dates: Dates::Cron { years, months: sets.months().iter().map(|m| m - 1).collect(), days },
        repeats: hour.text.contains(['*', '/']) || hours.len() == 24,
        times: Times::Every {
            hours,
            minutes: sets.minutes().iter().collect(),
            seconds: sets.seconds().iter().collect(),
        },
    };
    let schedule = Schedule::wall(calendar.clone(), Some(canonical));
    schedule.checked().map_err(|error| match calendar.dates {
        Dates::Cron { years, months, days } if !years.is_empty() => {
            let dates = Dates::Cron { years: vec![], months, days };
            let ever = Schedule::wall(Calendar { dates, ..calendar }, None).checked().is_ok();
            match ever {
                true => {
                    year.wrong("in none of these years there is such a day, so it would never fire")
                }
                false => date.wrong(error.problem()),
            }
        }
        _ => date.wrong(error.problem()),
    })
}

/// `Europe/Rome`, or whatever looks like it, and no field does: `H/15` and `MON/2` do not.
fn is_zone(text: &str) -> bool {
    let word = |part: &str| part.len() > 1 && part.starts_with(|c: char| c.is_ascii_alphabetic());
    let looks_so = || text.split_once('/').is_some_and(|(area, city)| word(area) && word(city));
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && (Zone::is_known(text) || looks_so())
}

/// `@daily` and its like.
fn short(text: &str, whole: impl Fn(String) -> Wrong) -> Result<Schedule, Wrong> {
    let lower = text.to_ascii_lowercase();
    let expression = match lower.as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        "@reboot" => {
            return Err(whole(
                "`@reboot` is no time; dispatch the task where the program starts".into(),
            ));
        }
        _ => {
            let Some(interval) = lower.strip_prefix("@every").filter(|rest| rest.starts_with(' '))
            else {
                return Err(whole(format!(
                    "`{text}` is unknown; write `@yearly`, `@monthly`, `@weekly`, `@daily`, `@hourly` or `@every 5m`"
                )));
            };
            let every = |problem| ScheduleError::new(Field::Every, problem);
            let interval = duration::parse(interval).map_err(every).and_then(Schedule::every);
            return interval.map_err(|error| Wrong { error, span: whole(String::new()).span });
        }
    };
    read(expression)
}

/// A field that holds nothing but numbers, names, ranges and steps.
fn list(field: Text<'_>) -> Result<String, Wrong> {
    let items: Vec<_> = field.items().map(plain).collect::<Result<_, _>>()?;
    Ok(items.join(","))
}

/// Digits and nothing else: std would take a `+`, too.
fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn plain(item: Text<'_>) -> Result<String, Wrong> {
    if item.text == "H" || item.text.starts_with("H/") || item.text.starts_with("H(") {
        return Err(
            item.wrong("`H` is Jenkins' own; name a time, and give the schedule a `.spread(..)`")
        );
    }
    item.plain()
}

/// The day-of-month field: what the `cron` crate is to read of it, if anything, and the rest.
fn read_dates(field: Text<'_>) -> Result<(Option<String>, ByDate), Wrong> {
    let (mut numbers, mut days) = (Vec::new(), ByDate::default());
    for item in field.items() {
        if item.text == "L" {
            days.before_last.insert(0);
        } else if item.text == "LW" {
            days.last_weekday = true;
        } else if let Some(before) = item.text.strip_prefix("L-") {
            match digits(before) {
                Some(n) if (1..=30).contains(&n) => days.before_last.insert(n),
                _ => {
                    return Err(item
                        .wrong(format!("`{before}` days before the last is not within 1 to 30")));
                }
            }
        } else if let Some((day, rest)) = item.split('W') {
            if !rest.text.is_empty() {
                return Err(item
                    .wrong(format!("`{}` is not read; `W` ends a day, such as `15W`", item.text)));
            }
            days.nearest_weekday.insert(day.number()?);
        } else {
            numbers.push(plain(item)?);
        }
    }
    Ok(((!numbers.is_empty()).then(|| numbers.join(",")), days))
}

/// The day-of-week field, likewise.
fn read_weekdays(field: Text<'_>) -> Result<(Option<String>, ByWeekday), Wrong> {
    let weekday = |text: Text<'_>| Ok(Weekday::from_monday(i64::from(text.number()?) - 1));
    let (mut numbers, mut days) = (Vec::new(), ByWeekday::default());
    for item in field.items() {
        if let Some((day, nth)) = item.split('#') {
            let n = match digits(nth.text) {
                Some(n) if (1..=5).contains(&n) => n,
                _ => {
                    return Err(nth.wrong(format!(
                        "`{}` is not within 1 to 5; `FRI#2` is the second Friday",
                        nth.text
                    )));
                }
            };
            let nth = (n, weekday(day)?);
            if !days.nth.contains(&nth) {
                days.nth.push(nth);
            }
        } else if item.text == "L" {
            return Err(item.wrong("`L` needs a weekday here, such as `5L` for the last Friday"));
        } else if let Some(day) = item.text.strip_suffix('L') {
            days.last.insert(weekday(Text { text: day, ..item })? as u32);
        } else {
            numbers.push(plain(item)?);
        }
    }
    Ok(((!numbers.is_empty()).then(|| numbers.join(",")), days))
}
