//! The stored form of a schedule: one line, its version first, readable in the database.
//!
//! ```text
//! v1 every 300s from 2026-11-24T08:00:03Z
//! v1 days 1 at 09:00,14:00 tz Europe/Rome
//! v1 days 1 at *:45:00 tz UTC
//! v1 weeks 2 from 2026-11-24T00:00:00Z on Mon,Fri at 18:00 tz Europe/Rome
//! v1 months 1 on 1,15 at 00:00 tz UTC
//! v1 months Jan,Apr on L at 00:00 tz UTC
//! v1 cron 0 3 * * MON-FRI tz Europe/Rome
//! ```
//!
//! What a version can read, all later ones can. What is read goes through the same doors as what is built, so a line that was
//! changed by hand is checked like any other.

use std::{
    str::SplitAsciiWhitespace,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, SecondsFormat, Utc};

use crate::{
    calendar::Calendar,
    dates::Dates,
    error::{Field, ScheduleError},
    fluent::{self, Rule},
    month::MonthDay,
    names::{Month, Set, Weekday, short},
    schedule::{Kind, Schedule},
    stage,
    times::{self, Times},
};

pub(crate) fn write(schedule: &Schedule) -> String {
    let from = schedule.anchor.and_then(DateTime::from_timestamp_millis).map_or(
        String::new(),
        |anchor: DateTime<Utc>| {
            format!(" from {}", anchor.to_rfc3339_opts(SecondsFormat::AutoSi, true))
        },
    );
    match &schedule.kind {
        Kind::Elapsed { every } if every % 1000 == 0 => format!("v1 every {}s{from}", every / 1000),
        Kind::Elapsed { every } => format!("v1 every {every}ms{from}"),
        Kind::Wall { cron: Some(cron), zone, .. } => format!("v1 cron {cron} tz {}", zone.name()),
        Kind::Wall { calendar: Calendar { dates, times, .. }, zone, cron: None } => {
            let (count, on) = dates_of(dates);
            format!("v1 {count}{from}{on} at {} tz {}", times_of(times), zone.name())
        }
    }
}

/// What is counted, and which days of it.
fn dates_of(dates: &Dates) -> (String, String) {
    match dates {
        Dates::Days { every } => (format!("days {every}"), String::new()),
        Dates::Weeks { every, on } => {
            let days =
                on.iter().map(|day| short(Weekday::from_monday(day.into()).name()).to_owned());
            (format!("weeks {every}"), format!(" on {}", joined(days)))
        }
        Dates::Months { every, months, on } => {
            let count = if months.len() == 12 {
                every.to_string()
            } else {
                joined(
                    months.iter().map(|month| short(Month::ALL[month as usize].name()).to_owned()),
                )
            };
            (
                format!("months {count}"),
                format!(" on {}", joined(on.iter().map(|day| month_day(*day)))),
            )
        }
        // Its expression is what is stored of it.
        Dates::Cron { .. } => (String::new(), String::new()),
    }
}

fn month_day(day: MonthDay) -> String {
    match day {
        MonthDay::Day(day) => day.to_string(),
        MonthDay::Nth(n, weekday) => format!("{}#{n}", short(weekday.name())),
        MonthDay::Last(weekday) => format!("{}L", short(weekday.name())),
        MonthDay::LastDay => "L".into(),
        MonthDay::NearestWeekday(day) => format!("{day}W"),
    }
}

fn times_of(times: &Times) -> String {
    match times {
        Times::At(times) => joined(times.iter().map(|time| times::write(*time))),
        Times::Every { minutes, seconds, .. } => {
            let hand = |set: &Set| match set.first() {
                Some(n) if set.len() == 1 => format!("{n:02}"),
                _ => "*".into(),
            };
            format!("*:{}:{}", hand(minutes), hand(seconds))
        }
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

pub(crate) fn read(text: &str) -> Result<Schedule, ScheduleError> {
    let mut words = Words { text, words: text.split_ascii_whitespace() };
    match words.next()? {
        "v1" => {}
        version if version.starts_with('v') && version[1..].parse::<u32>().is_ok() => {
            let problem =
                format!("its form `{version}` is of a later version of evertask; run that one");
            return Err(words.wrong(&problem).newer());
        }
        _ => return Err(words.wrong("it does not begin with `v1`")),
    }
    match words.next()? {
        "every" => {
            let interval = words.next()?;
            let number = |unit| interval.strip_suffix(unit).and_then(|n: &str| n.parse().ok());
            let interval = match (number("ms"), number("s")) {
                (Some(millis), _) => Duration::from_millis(millis),
                (_, Some(seconds)) => Duration::from_secs(seconds),
                _ => return Err(words.wrong(&format!("`{interval}` is no interval"))),
            };
            let schedule = Schedule::every(interval)?;
            let from = words.from()?;
            words.end()?;
            Ok(from.map_or(schedule.clone(), |from| schedule.anchored(from)))
        }
        "cron" => {
            let rest: Vec<&str> = words.words.by_ref().collect();
            match rest.as_slice() {
                [expression @ .., "tz", zone] => crate::cron(&expression.join(" "))?.tz(zone),
                _ => Err(words.wrong("its zone is missing, `tz UTC`")),
            }
        }
        "days" => {
            let count = words.count()?;
            let rule = anchored(fluent::every(count).days(), &mut words)?;
            words.at(rule)
        }
        "weeks" => {
            let count = words.count()?;
            let rule = anchored(fluent::every(count).weeks(), &mut words)?;
            words.expect("on")?;
            let days =
                words.list(|day| Weekday::ALL.into_iter().find(|d| short(d.name()) == day))?;
            words.at(rule.on(days))
        }
        "months" => {
            let mut ahead = words.words.clone();
            let counted = ahead.next().is_some_and(|count| count.parse::<u32>().is_ok());
            let rule = if counted {
                fluent::every(words.count()?).months()
            } else {
                let months =
                    words.list(|name| Month::ALL.into_iter().find(|m| short(m.name()) == name))?;
                fluent::on_months(months).then(|_| Ok(()))
            };
            let rule = anchored(rule, &mut words)?;
            words.expect("on")?;
            let days = words.list(read_month_day)?;
            words.at(rule.on_month_days::<stage::Dated>(days.into_iter().map(Ok)))
        }
        other => Err(words.wrong(&format!("`{other}` is no kind of schedule"))),
    }
}

fn anchored<S: stage::Counts>(
    rule: Rule<S>,
    words: &mut Words<'_>,
) -> Result<Rule<S>, ScheduleError> {
    Ok(match words.from()? {
        Some(at) => rule.anchored(at),
        None => rule,
    })
}

fn read_month_day(text: &str) -> Option<MonthDay> {
    let weekday = |name: &str| Weekday::ALL.into_iter().find(|day| short(day.name()) == name);
    let day = |text: &str| text.parse().ok().filter(|day| (1..=31).contains(day));
    if text == "L" {
        Some(MonthDay::LastDay)
    } else if let Some((name, n)) = text.split_once('#') {
        let n = n.parse().ok().filter(|n| (1..=5).contains(n))?;
        Some(MonthDay::Nth(n, weekday(name)?))
    } else if let Some(name) = text.strip_suffix('L') {
        Some(MonthDay::Last(weekday(name)?))
    } else if let Some(nearest) = text.strip_suffix('W') {
        Some(MonthDay::NearestWeekday(day(nearest)?))
    } else {
        Some(MonthDay::Day(day(text)?))
    }
}

/// The words of a stored line, one after the other.
struct Words<'a> {
    text: &'a str,
    words: SplitAsciiWhitespace<'a>,
}

impl<'a> Words<'a> {
    fn wrong(&self, problem: &str) -> ScheduleError {
        let shown: String = self.text.chars().take(100).collect();
        ScheduleError::new(Field::Stored, format!("{problem}, in `{shown}`"))
    }

    fn next(&mut self) -> Result<&'a str, ScheduleError> {
        self.words.next().ok_or_else(|| self.wrong("it ends too early"))
    }

    fn expect(&mut self, word: &str) -> Result<(), ScheduleError> {
        match self.next()? {
            next if next == word => Ok(()),
            next => Err(self.wrong(&format!("`{next}` stands where `{word}` should"))),
        }
    }

    fn end(&mut self) -> Result<(), ScheduleError> {
        match self.words.next() {
            Some(more) => Err(self.wrong(&format!("`{more}` is too much"))),
            None => Ok(()),
        }
    }

    fn count(&mut self) -> Result<u32, ScheduleError> {
        let count = self.next()?;
        count.parse().map_err(|_| self.wrong(&format!("`{count}` is no count")))
    }

    fn list<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, ScheduleError> {
        let list = self.next()?;
        let items = list.split(',').map(|item| read(item).ok_or(item));
        items.collect::<Result<_, _>>().map_err(|item| self.wrong(&format!("`{item}` is not read")))
    }

    /// `from` and an instant, if they stand here.
    fn from(&mut self) -> Result<Option<SystemTime>, ScheduleError> {
        let mut ahead = self.words.clone();
        if ahead.next() != Some("from") {
            return Ok(None);
        }
        self.words = ahead;
        let at = self.next()?;
        let read = DateTime::parse_from_rfc3339(at);
        read.map(|at| Some(at.into())).map_err(|_| {
            ScheduleError::new(
                Field::Anchor,
                format!("`{at}` is no instant; write one such as `2026-01-31T00:00:00Z`"),
            )
        })
    }

    /// The rest of what goes by the wall: the times, and the zone.
    fn at<S>(&mut self, rule: Rule<S>) -> Result<Schedule, ScheduleError> {
        self.expect("at")?;
        let times = self.next()?;
        let rule: Rule<stage::Timed> =
            match times.strip_prefix("*:").and_then(|t| t.split_once(':')) {
                Some(("*", second)) => fluent::every_minute().at_second(self.hand(second)?),
                Some((minute, second)) => {
                    let (minute, second) = (self.hand(minute)?, self.hand(second)?);
                    fluent::every_hour().at_minute(minute).at_second(second)
                }
                None => {
                    let times = times.split(',').map(times::read).collect::<Result<_, _>>();
                    rule.then(|calendar| {
                        calendar.times = Times::at(times?)?;
                        Ok(())
                    })
                }
            };
        self.expect("tz")?;
        let zone = self.next()?;
        self.end()?;
        rule.tz(zone)
    }

    fn hand(&self, text: &str) -> Result<u32, ScheduleError> {
        text.parse().map_err(|_| self.wrong(&format!("`{text}` is neither a number nor `*`")))
    }
}
