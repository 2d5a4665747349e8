//! The days of a schedule, as sets of days of the calendar, without any zone.

use crate::{
    month::{CronDays, MonthDay, MonthOf},
    names::Set,
};

/// A day of the calendar, in days since 1970-01-01.
pub(crate) type Day = i64;

/// After so many months the Gregorian calendar begins anew, weekdays and all.
const CYCLE: i64 = 400 * 12;
/// The month behind the year 9999, where all there is ends.
const END: i64 = 10_000 * 12;

/// A set of days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dates {
    /// Every nth day, counted from the anchor.
    Days { every: u32 },
    /// On these weekdays of every nth week, counted from the week of the anchor. Weeks begin on Monday.
    Weeks { every: u32, on: Set },
    /// On these days of every nth month, counted from the month of the anchor; only in these months.
    Months { every: u32, months: Set, on: Vec<MonthDay> },
    /// What a cron expression says. No years: all of them.
    Cron { years: Vec<i32>, months: Set, days: CronDays },
}

impl Dates {
    /// Every day.
    pub(crate) const DAILY: Self = Self::Days { every: 1 };

    /// Whether the days are counted, so that it matters from where.
    pub(crate) fn is_counted(&self) -> bool {
        match self {
            Self::Days { every } | Self::Weeks { every, .. } | Self::Months { every, .. } => {
                *every > 1
            }
            Self::Cron { .. } => false,
        }
    }

    /// The first day that is `from` or later. Costs the same however far `from` is from the anchor.
    pub(crate) fn from(&self, from: Day, anchor: Day) -> Option<Day> {
        match self {
            Self::Days { every } => {
                let every = i64::from(*every);
                Some(from + (anchor - from).rem_euclid(every))
            }
            Self::Weeks { every, on } => {
                let (week, weekday) = week_of(from);
                let away = (week_of(anchor).0 - week).rem_euclid(i64::from(*every));
                if away == 0
                    && let Some(weekday) = on.from(weekday)
                {
                    return Some(monday(week) + i64::from(weekday));
                }
                let next = if away == 0 { week + i64::from(*every) } else { week + away };
                Some(monday(next) + i64::from(on.first()?))
            }
            Self::Months { every, months, on } => {
                let every = i64::from(*every);
                let anchor = MonthOf::of(anchor)?.0.number();
                in_months(
                    from,
                    // Every nth month has shown all it has when each month of the calendar could have had its turn.
                    every * CYCLE,
                    |month| {
                        let away = (anchor - month.number()).rem_euclid(every);
                        if away == 0 && months.contains(month.month) { 0 } else { away.max(1) }
                    },
                    |shape| {
                        let days = on.iter().filter_map(|day| day.within(shape));
                        days.fold(0, |days, day| days | 1 << day)
                    },
                )
            }
            Self::Cron { years, months, days } => in_months(
                // What is before its years is not searched.
                years.first().and_then(|year| january(*year)).map_or(from, |day| day.max(from)),
                CYCLE,
                |month| {
                    if !years.is_empty() && years.binary_search(&month.year).is_err() {
                        let later = years.get(years.partition_point(|year| *year < month.year));
                        // Over the end of all there is, the search ends.
                        return later.map_or(CYCLE + 1, |year| {
                            MonthOf { year: *year, month: 0 }.number() - month.number()
                        });
                    }
                    i64::from(!months.contains(month.month))
                },
                |shape| days.within(shape),
            ),
        }
    }
}

/// Weeks since the one of 1970-01-01, and the days after Monday.
fn week_of(day: Day) -> (i64, u32) {
    // That day was a Thursday.
    ((day + 3).div_euclid(7), (day + 3).rem_euclid(7) as u32)
}

fn monday(week: i64) -> Day {
    week * 7 - 3
}

/// The first day of a year.
fn january(year: i32) -> Option<Day> {
    Some(MonthOf { year, month: 0 }.shape()?.first)
}

/// The first day from `from` on that `days` holds, in a month for which `away` is 0. For others, it says after how many months
/// to look again. What is not found within so many months is not there.
fn in_months(
    from: Day,
    months: i64,
    away: impl Fn(MonthOf) -> i64,
    days: impl Fn(crate::month::Shape) -> u64,
) -> Option<Day> {
    let (mut month, mut least) = MonthOf::of(from)?;
    let end = END.min(month.number() + months);
    while month.number() <= end {
        let months = match away(month) {
            0 => {
                let shape = month.shape()?;
                if let Some(day) = Set(days(shape)).from(least) {
                    return Some(shape.first + i64::from(day) - 1);
                }
                1
            }
            months => months,
        };
        month = MonthOf::from_number(month.number() + months);
        least = 1;
    }
    None
}
