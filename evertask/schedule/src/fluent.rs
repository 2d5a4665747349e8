//! Schedules in words of code: `every(2).weeks().on(Fri).at("18:00")`.

use std::{
    marker::PhantomData,
    time::{Duration, SystemTime},
};

use crate::{
    calendar::Calendar,
    dates::Dates,
    error::{Field, ScheduleError},
    month::MonthDay,
    names::{Month, Set, Weekday},
    schedule::Schedule,
    stage::{self, Counts, OfDays, OfMonths, OfWeeks, OnTheWall},
    times::{self, Times},
};

/// Every so many seconds, minutes, hours, days, weeks or months.
///
/// ```
/// # mod evertask { pub use evertask_schedule as schedule; }
/// use evertask::schedule::every;
///
/// assert_eq!(every(5).minutes().build().unwrap().to_string(), "every 5 minutes");
/// assert!(every(0).minutes().build().unwrap_err().to_string().starts_with("every: "));
/// ```
pub fn every(count: u32) -> Every {
    Every(count)
}

/// Every second.
pub fn every_second() -> Rule<stage::Elapsed> {
    every(1).seconds()
}

/// Every minute; at its beginning, or `.at_second(30)`.
pub fn every_minute() -> Rule<stage::Minute> {
    Rule::elapsed(1, 60)
}

/// Every hour; at its beginning (by UTC), or `.at_minute(45)` by the clock on the wall.
pub fn every_hour() -> Rule<stage::Hour> {
    Rule::elapsed(1, 3600)
}

/// Every day; at midnight, or `.at("09:00")`.
pub fn every_day() -> Rule<stage::Day> {
    every(1).days().then(|_| Ok(()))
}

/// Every week; on Monday at midnight, or `.on(Fri)`.
pub fn every_week() -> Rule<stage::Week> {
    every(1).weeks().then(|_| Ok(()))
}

/// Every month; on its first day at midnight, or for example `.on_day(15)`.
pub fn every_month() -> Rule<stage::Month> {
    every(1).months().then(|_| Ok(()))
}

/// In these months; on their first day at midnight, or for example `.on_day(15)`.
pub fn on_months(months: impl Into<Vec<Month>>) -> Rule<stage::Month> {
    let months: Set = months.into().into_iter().map(|month| month as u32).collect();
    let problem = (months.is_empty())
        .then(|| ScheduleError::new(Field::Month, "the list of months is empty"));
    Rule::dated(Dates::Months { every: 1, months, on: vec![MonthDay::Day(1)] }, problem)
}

/// What becomes a [`Schedule`], if it is one: rules, schedules, and a `Duration` as a fixed interval.
///
/// Also a schedule that is still to be looked at, so that `every(..)` at a dispatch takes what `.tz(..)` returns and reports
/// its error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no schedule",
    note = "write one such as `every_day().at(\"09:00\")`, `cron(\"0 9 * * *\")` or a `Duration`"
)]
pub trait IntoSchedule {
    /// The schedule, or what is wrong with it.
    ///
    /// # Errors
    ///
    /// A part of it makes no sense, such as `every(0)` or `at("25:00")`.
    fn into_schedule(self) -> Result<Schedule, ScheduleError>;
}

/// A number of what? Made by [`every`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "say what there are so many of, such as `.minutes()`"]
pub struct Every(u32);

/// A rule that is being said. It is a schedule as soon as it is given to something that takes one.
///
/// What is wrong in it, such as `at("25:00")`, is told then, by [`build`](Self::build) or by the dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a rule does nothing by itself; give it to `.every(..)` at a dispatch, or call `.build()`"]
pub struct Rule<Stage> {
    shape: Shape,
    anchor: Option<SystemTime>,
    /// The first thing that was wrong.
    problem: Option<ScheduleError>,
    stage: PhantomData<Stage>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    Elapsed(Duration),
    Wall(Calendar),
}

/// The most a count may be: about 100 years of each.
const DAYS_MAX: u32 = 36_500;
const WEEKS_MAX: u32 = 5_200;
const MONTHS_MAX: u32 = 1_200;

impl Every {
    /// Seconds, as a fixed interval.
    pub fn seconds(self) -> Rule<stage::Elapsed> {
        Rule::elapsed(self.0, 1)
    }

    /// Minutes, as a fixed interval.
    pub fn minutes(self) -> Rule<stage::Elapsed> {
        Rule::elapsed(self.0, 60)
    }

    /// Hours, as a fixed interval.
    pub fn hours(self) -> Rule<stage::Elapsed> {
        Rule::elapsed(self.0, 3600)
    }

    /// Days of the calendar, at midnight, or `.at("09:00")`.
    pub fn days(self) -> Rule<stage::Days> {
        Rule::dated(Dates::Days { every: self.0.max(1) }, self.problem("days", DAYS_MAX))
    }

    /// Weeks, on Monday at midnight, or `.on(Fri)`. Weeks begin on Monday.
    pub fn weeks(self) -> Rule<stage::Weeks> {
        let on = Set::from_iter([Weekday::Mon as u32]);
        Rule::dated(Dates::Weeks { every: self.0.max(1), on }, self.problem("weeks", WEEKS_MAX))
    }

    /// Months, on their first day at midnight, or for example `.on_day(15)`.
    pub fn months(self) -> Rule<stage::Months> {
        let (months, on) = ((0..12).collect(), vec![MonthDay::Day(1)]);
        let dates = Dates::Months { every: self.0.max(1), months, on };
        Rule::dated(dates, self.problem("months", MONTHS_MAX))
    }

    fn problem(self, what: &str, max: u32) -> Option<ScheduleError> {
        let said = self.0;
        (said == 0 || said > max).then(|| {
            let problem = format!("`{said}` is not within 1 to {max}, as the number of {what}");
            ScheduleError::new(Field::Every, problem)
        })
    }
}

impl<Stage> Rule<Stage> {
    fn new(shape: Shape, problem: Option<ScheduleError>) -> Self {
        Self { shape, anchor: None, problem, stage: PhantomData }
    }

    fn elapsed(count: u32, seconds: u64) -> Self {
        let interval = Duration::from_secs(u64::from(count) * seconds);
        Self::new(Shape::Elapsed(interval), None)
    }

    fn dated(dates: Dates, problem: Option<ScheduleError>) -> Self {
        let calendar = Calendar { dates, times: Times::midnight(), repeats: false };
        Self::new(Shape::Wall(calendar), problem)
    }

    /// The same rule, said further.
    pub(crate) fn then<Next>(
        mut self,
        say: impl FnOnce(&mut Calendar) -> Result<(), ScheduleError>,
    ) -> Rule<Next> {
        if let Shape::Wall(calendar) = &mut self.shape
            && let Err(problem) = say(calendar)
        {
            self.problem.get_or_insert(problem);
        }
        let Self { shape, anchor, problem, .. } = self;
        Rule { shape, anchor, problem, stage: PhantomData }
    }

    pub(crate) fn on_month_days<Next>(
        self,
        days: impl IntoIterator<Item = Result<MonthDay, ScheduleError>>,
    ) -> Rule<Next> {
        let days: Result<Vec<_>, _> = days.into_iter().collect();
        self.then(|calendar| {
            let mut days = days?;
            if days.is_empty() {
                return Err(ScheduleError::new(Field::DayOfMonth, "the list of days is empty"));
            }
            days.sort_unstable();
            days.dedup();
            if let Dates::Months { on, .. } = &mut calendar.dates {
                *on = days;
            }
            Ok(())
        })
    }

    /// These times within every hour or minute, instead of a fixed interval.
    fn hands<Next>(self, minutes: Set, second: Result<u32, ScheduleError>) -> Rule<Next> {
        let hours = (0..24).collect();
        let rule: Rule<Next> = Rule::dated(Dates::DAILY, self.problem);
        rule.then(|calendar| {
            calendar.repeats = true;
            calendar.times = Times::Every { hours, minutes, seconds: Set::from_iter([second?]) };
            Ok(())
        })
    }

    /// The schedule, or what is wrong with it.
    ///
    /// # Errors
    ///
    /// A part of it makes no sense, such as `every(0)` or `at("25:00")`.
    pub fn build(self) -> Result<Schedule, ScheduleError> {
        self.said()?.checked()
    }

    /// What was said, which may still never come.
    fn said(self) -> Result<Schedule, ScheduleError> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let schedule = match self.shape {
            Shape::Elapsed(interval) => Schedule::every(interval)?,
            Shape::Wall(calendar) => Schedule::wall(calendar, None),
        };
        Ok(match self.anchor {
            Some(at) => schedule.anchored(at),
            None => schedule,
        })
    }
}

impl<Stage: OnTheWall> Rule<Stage> {
    /// The schedule by the wall clocks of this zone of the IANA database, such as `Europe/Rome`; without, they are UTC's.
    ///
    /// # Errors
    ///
    /// There is no such zone, or another part makes no sense.
    pub fn tz(self, name: &str) -> Result<Schedule, ScheduleError> {
        self.said()?.tz(name)
    }
}

impl<Stage: Counts> Rule<Stage> {
    /// Counts from this instant, as [`Schedule::anchored`] does.
    pub fn anchored(mut self, at: SystemTime) -> Self {
        self.anchor = Some(at);
        self
    }
}

impl Rule<stage::Minute> {
    /// At this second of every minute.
    pub fn at_second(self, second: u32) -> Rule<stage::Timed> {
        self.hands((0..60).collect(), within(Field::Second, second, 0, 59))
    }
}

impl Rule<stage::Hour> {
    /// At this minute of every hour, by the clock on the wall.
    pub fn at_minute(mut self, minute: u32) -> Rule<stage::HourMinute> {
        let minute = within(Field::Minute, minute, 0, 59).unwrap_or_else(|problem| {
            self.problem.get_or_insert(problem);
            0
        });
        self.hands(Set::from_iter([minute]), Ok(0))
    }
}

impl Rule<stage::HourMinute> {
    /// And at this second of that minute.
    pub fn at_second(self, second: u32) -> Rule<stage::Timed> {
        let second = within(Field::Second, second, 0, 59);
        self.then(|calendar| {
            if let Times::Every { seconds, .. } = &mut calendar.times {
                *seconds = Set::from_iter([second?]);
            }
            Ok(())
        })
    }
}

impl<Stage: OfWeeks> Rule<Stage> {
    /// On this weekday, or on these.
    pub fn on(self, days: impl Into<Vec<Weekday>>) -> Rule<stage::Dated> {
        let days: Set = days.into().into_iter().map(|day| day as u32).collect();
        self.then(|calendar| {
            if days.is_empty() {
                return Err(ScheduleError::new(Field::DayOfWeek, "the list of weekdays is empty"));
            }
            if let Dates::Weeks { on, .. } = &mut calendar.dates {
                *on = days;
            }
            Ok(())
        })
    }
}

impl<Stage: OfMonths> Rule<Stage> {
    /// On this day of the month, 1 to 31; where the month is shorter, on its last day.
    pub fn on_day(self, day: u32) -> Rule<stage::Dated> {
        self.on_days([day])
    }

    /// On these days of the month.
    pub fn on_days(self, days: impl IntoIterator<Item = u32>) -> Rule<stage::Dated> {
        let day = |day| within(Field::DayOfMonth, day, 1, 31).map(MonthDay::Day);
        self.on_month_days(days.into_iter().map(day))
    }

    /// On the first such weekday of the month.
    pub fn on_first(self, weekday: Weekday) -> Rule<stage::Dated> {
        self.on_nth(1, weekday)
    }

    /// On the nth such weekday of the month, 1 to 5; not in months that have only four.
    pub fn on_nth(self, n: u32, weekday: Weekday) -> Rule<stage::Dated> {
        let nth = within(Field::DayOfWeek, n, 1, 5).map(|n| MonthDay::Nth(n, weekday));
        self.on_month_days([nth])
    }

    /// On the last such weekday of the month.
    pub fn on_last(self, weekday: Weekday) -> Rule<stage::Dated> {
        self.on_month_days([Ok(MonthDay::Last(weekday))])
    }

    /// On the last day of the month.
    pub fn on_last_day(self) -> Rule<stage::Dated> {
        self.on_month_days([Ok(MonthDay::LastDay)])
    }

    /// On the day from Monday to Friday that is nearest to this day, and in the same month.
    pub fn on_weekday_nearest(self, day: u32) -> Rule<stage::Dated> {
        let day = within(Field::DayOfMonth, day, 1, 31).map(MonthDay::NearestWeekday);
        self.on_month_days([day])
    }
}

impl<Stage: OfDays> Rule<Stage> {
    /// At this time by the clock on the wall, such as `09:00` or `17:30:15`.
    pub fn at(self, time: &str) -> Rule<stage::Timed> {
        self.at_times([time])
    }

    /// At each of these times.
    pub fn at_times<T: AsRef<str>>(self, times: impl IntoIterator<Item = T>) -> Rule<stage::Timed> {
        let times: Result<Vec<_>, _> =
            times.into_iter().map(|time| times::read(time.as_ref())).collect();
        self.then(|calendar| {
            calendar.times = Times::at(times?)?;
            Ok(())
        })
    }
}

fn within(field: Field, number: u32, least: u32, most: u32) -> Result<u32, ScheduleError> {
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    Err(ScheduleError::new(field, format!("`{number}` is not within {least} to {most}")))
}

impl<Stage> IntoSchedule for Rule<Stage> {
    fn into_schedule(self) -> Result<Schedule, ScheduleError> {
        self.build()
    }
}

impl IntoSchedule for Schedule {
    fn into_schedule(self) -> Result<Schedule, ScheduleError> {
        Ok(self)
    }
}

impl IntoSchedule for &Schedule {
    fn into_schedule(self) -> Result<Schedule, ScheduleError> {
        Ok(self.clone())
    }
}

impl IntoSchedule for Result<Schedule, ScheduleError> {
    fn into_schedule(self) -> Result<Schedule, ScheduleError> {
        self
    }
}

impl IntoSchedule for Duration {
    fn into_schedule(self) -> Result<Schedule, ScheduleError> {
        Schedule::every(self)
    }
}

impl<Stage> TryFrom<Rule<Stage>> for Schedule {
    type Error = ScheduleError;

    fn try_from(rule: Rule<Stage>) -> Result<Self, ScheduleError> {
        rule.build()
    }
}
