//! The days of one month: how many, on which weekdays, and which of them a rule means.

use chrono::{Datelike, NaiveDate};

use crate::{
    dates::Day,
    names::{Set, Weekday},
};

/// One month of one year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MonthOf {
    pub(crate) year: i32,
    /// 0 is January.
    pub(crate) month: u32,
}

impl MonthOf {
    /// Months since year 0, to count with.
    pub(crate) fn number(self) -> i64 {
        i64::from(self.year) * 12 + i64::from(self.month)
    }

    pub(crate) fn from_number(number: i64) -> Self {
        Self { year: number.div_euclid(12) as i32, month: number.rem_euclid(12) as u32 }
    }

    /// The month of a day, and the day in it from 1.
    pub(crate) fn of(day: Day) -> Option<(Self, u32)> {
        let date = NaiveDate::from_epoch_days(i32::try_from(day).ok()?)?;
        Some((Self { year: date.year(), month: date.month0() }, date.day()))
    }

    pub(crate) fn shape(self) -> Option<Shape> {
        let first = NaiveDate::from_ymd_opt(self.year, self.month + 1, 1)?;
        Some(Shape {
            first: i64::from(first.to_epoch_days()),
            len: u32::from(first.num_days_in_month()),
            starts: first.weekday().num_days_from_monday(),
        })
    }
}

/// What a month looks like on the wall. Days are counted from 1, sets of days hold these numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// The first day of it.
    pub(crate) first: Day,
    pub(crate) len: u32,
    /// The weekday of the first day, days after Monday.
    starts: u32,
}

impl Shape {
    /// All days of it.
    pub(crate) fn all(self) -> u64 {
        (1 << (self.len + 1)) - 2
    }

    fn weekday(self, day: u32) -> u32 {
        (self.starts + day - 1) % 7
    }

    /// Which day is the nth of its kind, counted from 1.
    pub(crate) fn nth(self, n: u32, weekday: Weekday) -> Option<u32> {
        let day = (weekday as u32 + 7 - self.starts) % 7 + 1 + (n - 1) * 7;
        (day <= self.len).then_some(day)
    }

    pub(crate) fn last(self, weekday: Weekday) -> u32 {
        self.len - (self.weekday(self.len) + 7 - weekday as u32) % 7
    }

    /// The days of these weekdays.
    pub(crate) fn on(self, weekdays: Set) -> u64 {
        // Six weeks of the set, so turned that the first of the month has bit 1.
        let week = weekdays.0 & 0x7f;
        let weeks = (0..6).fold(0, |weeks, n| weeks | week << (7 * n));
        (weeks >> self.starts << 1) & self.all()
    }

    /// The day from Monday to Friday that is nearest to `day` and in the same month.
    pub(crate) fn nearest_weekday(self, day: u32) -> u32 {
        match self.weekday(day) {
            5 if day > 1 => day - 1,
            5 => day + 2,
            6 if day < self.len => day + 1,
            6 => day - 2,
            _ => day,
        }
    }
}

/// A day of the month, as the fluent form means it: where the month is too short, its last day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MonthDay {
    Day(u32),
    Nth(u32, Weekday),
    Last(Weekday),
    LastDay,
    NearestWeekday(u32),
}

impl MonthDay {
    pub(crate) fn within(self, shape: Shape) -> Option<u32> {
        match self {
            Self::Day(day) => Some(day.min(shape.len)),
            Self::Nth(n, weekday) => shape.nth(n, weekday),
            Self::Last(weekday) => Some(shape.last(weekday)),
            Self::LastDay => Some(shape.len),
            Self::NearestWeekday(day) => Some(shape.nearest_weekday(day.min(shape.len))),
        }
    }
}

/// The two day fields of a cron expression.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CronDays {
    pub(crate) by_date: ByDate,
    pub(crate) by_weekday: ByWeekday,
    /// Both fields say which days, so that one of them suffices.
    pub(crate) either: bool,
}

/// The day-of-month field. Where the month has no such day, there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ByDate {
    pub(crate) days: Set,
    /// `L` is 0 days before the last, `L-3` three.
    pub(crate) before_last: Set,
    /// `15W`.
    pub(crate) nearest_weekday: Set,
    /// `LW`.
    pub(crate) last_weekday: bool,
}

/// The day-of-week field. Monday is 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ByWeekday {
    pub(crate) days: Set,
    /// `5L`.
    pub(crate) last: Set,
    /// `FRI#2`.
    pub(crate) nth: Vec<(u32, Weekday)>,
}

impl CronDays {
    pub(crate) fn within(&self, shape: Shape) -> u64 {
        let (dates, weekdays) = (self.by_date.within(shape), self.by_weekday.within(shape));
        if self.either { dates | weekdays } else { dates & weekdays }
    }
}

impl ByDate {
    fn within(&self, shape: Shape) -> u64 {
        let mut days = Set(self.days.0 & shape.all());
        if !self.before_last.is_empty() {
            self.before_last
                .iter()
                .filter(|n| *n < shape.len)
                .for_each(|n| days.insert(shape.len - n));
        }
        if !self.nearest_weekday.is_empty() {
            let there = self.nearest_weekday.iter().filter(|day| *day <= shape.len);
            there.for_each(|day| days.insert(shape.nearest_weekday(day)));
        }
        if self.last_weekday {
            days.insert(shape.nearest_weekday(shape.len));
        }
        days.0
    }
}

impl ByWeekday {
    fn within(&self, shape: Shape) -> u64 {
        let mut days = Set(shape.on(self.days));
        if !self.last.is_empty() {
            self.last
                .iter()
                .for_each(|day| days.insert(shape.last(Weekday::from_monday(day.into()))));
        }
        self.nth.iter().filter_map(|(n, day)| shape.nth(*n, *day)).for_each(|day| days.insert(day));
        days.0
    }
}
