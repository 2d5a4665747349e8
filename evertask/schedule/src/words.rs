//! Schedules in words: `every 2 weeks on Friday at 18:00 (Europe/Rome)`. Two that are said alike hold the same instants.

use chrono::{DateTime, SecondsFormat};

use crate::{
    calendar::Calendar,
    dates::Dates,
    month::{ByDate, ByWeekday, CronDays, MonthDay},
    names::{Month, Set, Weekday},
    schedule::{Kind, Schedule},
    times::{self, Times},
    zone::Zone,
};

pub(crate) fn describe(schedule: &Schedule) -> String {
    let from =
        schedule.anchor.and_then(DateTime::from_timestamp_millis).map_or(String::new(), |anchor| {
            format!(" from {}", anchor.to_rfc3339_opts(SecondsFormat::AutoSi, true))
        });
    match &schedule.kind {
        Kind::Elapsed { every } => format!("every {}{from}", interval(*every)),
        Kind::Wall { calendar, zone, .. } => {
            format!("{}{from} ({})", wall(calendar, *zone), zone.name())
        }
    }
}

/// `minute`, `5 minutes`, `1 hour 30 minutes`. Nothing longer than an hour: a day is what the calendar says.
fn interval(millis: i64) -> String {
    const UNITS: [(i64, &str); 4] =
        [(3_600_000, "hour"), (60_000, "minute"), (1000, "second"), (1, "millisecond")];
    let mut rest = millis;
    let mut parts = Vec::new();
    for (size, unit) in UNITS {
        let count = rest / size;
        rest %= size;
        if count > 0 {
            parts.push(counted(count, unit));
        }
    }
    let said = parts.join(" ");
    // "every minute", but "every 1 minute 30 seconds".
    if parts.len() == 1 && said.starts_with("1 ") { said[2..].into() } else { said }
}

fn counted(count: i64, unit: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

/// `day`, `2 days`.
fn nth(count: u32, unit: &str) -> String {
    if count == 1 { unit.into() } else { counted(count.into(), unit) }
}

fn wall(calendar: &Calendar, zone: Zone) -> String {
    let Calendar { dates, times, repeats } = calendar;
    if let Dates::Cron { years, months, days } = dates {
        let mut said = Vec::new();
        said.extend(cron_days(days));
        if months.len() < 12 {
            said.push(format!("in {}", months_of(*months)));
        }
        if !years.is_empty() {
            said.push(years_of(years));
        }
        let rounds = *repeats && goes_round(times);
        match few(times).filter(|_| !rounds) {
            // "every day at 03:00", but "every 15 minutes on Monday".
            Some(times) => {
                if said.is_empty() {
                    said.push("every day".into());
                }
                said.push(times);
            }
            None => said.insert(0, hands(times, rounds)),
        }
        let said = said.join(" ");
        // Hours that are named count once when they are shown twice, and those that are gone through both times. Where the words
        // do not tell which they are, and the clocks of the zone do change, it has to be said.
        return match *repeats && !rounds && zone != Zone::UTC {
            true => format!("{said}, again when the clocks are put back"),
            false => said,
        };
    }
    if let Times::Every { minutes, seconds, .. } = times {
        // The fluent form of every hour or minute.
        let second = seconds.first().unwrap_or(0);
        return match minutes.first() {
            Some(minute) if minutes.len() == 1 => match second {
                0 => format!("every hour at minute {minute}"),
                _ => format!("every hour at minute {minute}, second {second}"),
            },
            _ => format!("every minute at second {second}"),
        };
    }
    format!("{} {}", fluent_days(dates), few(times).unwrap_or_default())
}

fn fluent_days(dates: &Dates) -> String {
    match dates {
        Dates::Days { every } => format!("every {}", nth(*every, "day")),
        Dates::Weeks { every, on } => {
            format!("every {} on {}", nth(*every, "week"), weekdays_listed(*on))
        }
        Dates::Months { every, months, on } => {
            let count = match months.len() {
                12 => format!("every {}", nth(*every, "month")),
                _ => format!("in {}", months_of(*months)),
            };
            format!("{count} {}", month_days(on))
        }
        Dates::Cron { days, .. } => cron_days(days).unwrap_or_default(),
    }
}

fn month_days(on: &[MonthDay]) -> String {
    let plain = |day: &MonthDay| match day {
        MonthDay::Day(day) => Some(*day),
        _ => None,
    };
    let days: Option<Set> = on.iter().map(plain).collect();
    if let Some(days) = days {
        return format!("on {}", numbers("day", days));
    }
    let said = on.iter().map(|day| match day {
        MonthDay::Day(day) => format!("day {day}"),
        MonthDay::Nth(n, weekday) => format!("the {} {weekday}", ordinal(*n)),
        MonthDay::Last(weekday) => format!("the last {weekday}"),
        MonthDay::LastDay => "the last day".into(),
        MonthDay::NearestWeekday(day) => format!("the weekday nearest to day {day}"),
    });
    format!("on {}", and(said.collect()))
}

/// The days of a cron expression; none is every day.
fn cron_days(days: &CronDays) -> Option<String> {
    let CronDays { by_date, by_weekday, either } = days;
    match (cron_dates(by_date), cron_weekdays(by_weekday)) {
        (Some(date), Some(weekday)) if *either => Some(format!("on {date} or on {weekday}")),
        // Of all days and some others, all.
        _ if *either => None,
        (Some(date), Some(weekday)) => Some(format!("on {date} if that is {weekday}")),
        (Some(day), None) | (None, Some(day)) => Some(format!("on {day}")),
        (None, None) => None,
    }
}

/// None is every day.
fn cron_dates(by_date: &ByDate) -> Option<String> {
    let ByDate { days, before_last, nearest_weekday, last_weekday } = by_date;
    if days.len() == 31 {
        return None;
    }
    let mut said = Vec::new();
    if !days.is_empty() {
        said.push(numbers("day", *days));
    }
    said.extend(nearest_weekday.iter().map(|day| format!("the weekday nearest to day {day}")));
    said.extend(before_last.iter().map(|n| match n {
        0 => "the last day".into(),
        n => format!("the day {} before the last", counted(n.into(), "day")),
    }));
    said.extend(last_weekday.then(|| "the weekday nearest to the last day".into()));
    Some(and(said))
}

fn cron_weekdays(by_weekday: &ByWeekday) -> Option<String> {
    let ByWeekday { days, last, nth } = by_weekday;
    if days.len() == 7 {
        return None;
    }
    let mut said = Vec::new();
    if !days.is_empty() {
        said.push(weekdays(*days));
    }
    said.extend(nth.iter().map(|(n, day)| format!("the {} {day}", ordinal(*n))));
    said.extend(last.iter().map(|day| format!("the last {}", Weekday::from_monday(day.into()))));
    Some(and(said))
}

/// The times of day one by one, if they are few: `at 09:00 and 14:00`.
fn few(times: &Times) -> Option<String> {
    let all = match times {
        Times::At(times) => times.clone(),
        Times::Every { hours, minutes, seconds } => {
            if hours.len() * minutes.len() * seconds.len() > 6 {
                return None;
            }
            let next = |last: &u32| times.after(*last);
            std::iter::successors(Some(times.first()), next).collect()
        }
    };
    Some(format!("at {}", and(all.into_iter().map(times::write).collect())))
}

/// Whether the hours are said by how far they are apart.
fn goes_round(times: &Times) -> bool {
    matches!(times, Times::Every { hours, .. } if step(*hours, 24).is_some())
}

/// The times of day by the hands of a clock: `every 15 minutes in hours 9 to 17`.
fn hands(times: &Times, rounds: bool) -> String {
    let Times::Every { hours, minutes, seconds } = times else { return String::new() };
    let (hours, minutes, seconds) = (*hours, *minutes, *seconds);
    let mut said = Vec::new();
    let on_the_minute = seconds == Set(1);
    if !on_the_minute {
        said.push(every("second", seconds, 60));
    }
    // "Every second" is in every minute, if nothing is said of those.
    if on_the_minute || minutes.len() < 60 || step(seconds, 60).is_none() {
        said.push(every("minute", minutes, 60));
    }
    if hours.len() < 24 || minutes.len() < 60 && step(minutes, 60).is_none() {
        said.push(if rounds { every("hour", hours, 24) } else { numbers("hour", hours) });
    }
    let mut said = said.into_iter();
    let first = said.next().unwrap_or_default();
    let first = if first.starts_with("every") { first } else { format!("at {first}") };
    said.fold(first, |said, next| {
        let of = if next.starts_with("every") { "of" } else { "in" };
        format!("{said} {of} {next}")
    })
}

/// `every minute`, `every 15 minutes`, `minutes 0 to 29`, `minute 5`.
fn every(unit: &str, set: Set, size: u32) -> String {
    match step(set, size) {
        Some(step) => format!("every {}", nth(step, unit)),
        None => numbers(unit, set),
    }
}

/// How far its numbers are apart, if they go round evenly from 0.
fn step(set: Set, size: u32) -> Option<u32> {
    let step = size / set.len();
    let even = set.len() > 1 && size.is_multiple_of(set.len());
    (even && set == (0..size).step_by(step as usize).collect()).then_some(step)
}

/// `day 1`, `days 1 and 15`, `days 1 to 7`.
fn numbers(unit: &str, set: Set) -> String {
    let plural = if set.len() == 1 { "" } else { "s" };
    format!("{unit}{plural} {}", and(runs(set, |n| n.to_string())))
}

fn weekdays(set: Set) -> String {
    and(runs(set, |day| Weekday::from_monday(day.into()).to_string()))
}

fn weekdays_listed(set: Set) -> String {
    and(set.iter().map(|day| Weekday::from_monday(day.into()).to_string()).collect())
}

fn months_of(set: Set) -> String {
    and(runs(set, |month| Month::ALL[month as usize].to_string()))
}

fn years_of(years: &[i32]) -> String {
    if let [first, second, .., last] = *years
        && years.len() > 3
        && second - first > 1
        && years.windows(2).all(|pair| pair[1] - pair[0] == second - first)
    {
        return format!("every {} years from {first} to {last}", second - first);
    }
    // Not a set of small numbers, but counted from 1970 they are two of them.
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for year in years {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == *year => *end = *year,
            _ => runs.push((*year, *year)),
        }
    }
    let said = runs.into_iter().map(|(start, end)| match end - start {
        0 => start.to_string(),
        1 => format!("{start} and {end}"),
        _ => format!("{start} to {end}"),
    });
    format!("in {}", and(said.collect()))
}

/// Three or more in a row as `a to b`.
fn runs(set: Set, name: impl Fn(u32) -> String) -> Vec<String> {
    let mut said = Vec::new();
    let mut from = set.first();
    while let Some(start) = from {
        let end = (start..63).find(|n| !set.contains(n + 1)).unwrap_or(63);
        match end - start {
            0 => said.push(name(start)),
            1 => said.extend([name(start), name(end)]),
            _ => said.push(format!("{} to {}", name(start), name(end))),
        }
        from = set.from(end + 1);
    }
    said
}

fn and(mut parts: Vec<String>) -> String {
    match parts.pop() {
        Some(last) if parts.is_empty() => last,
        Some(last) => format!("{} and {last}", parts.join(", ")),
        None => String::new(),
    }
}

fn ordinal(n: u32) -> &'static str {
    match n {
        1 => "first",
        2 => "second",
        3 => "third",
        4 => "fourth",
        _ => "fifth",
    }
}
