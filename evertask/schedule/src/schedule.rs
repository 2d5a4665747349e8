//! A schedule: a set of instants, of which the next one can be asked for.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    calendar::Calendar,
    dates::Day,
    error::{Field, ScheduleError},
    times::DAY,
    wire, words,
    zone::Zone,
};

/// Years 1 to 9999, in seconds since the epoch. What storages and people can write down; nothing overflows in between.
const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;

/// The longest time between two instants of a fixed interval: 100 years.
pub(crate) const EVERY_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);

/// A set of instants: when something is to happen, again and again.
///
/// Made by the fluent fns of this module, such as [`every_day()`](crate::every_day), by [`cron(..)`](crate::cron), or from a
/// fixed interval by [`Schedule::every`]. All of them are one type, and all that can be asked is which instant is
/// [next](Self::next).
///
/// ```
/// # mod evertask { pub use evertask_schedule as schedule; }
/// # fn main() -> Result<(), evertask_schedule::ScheduleError> {
/// use std::time::{Duration, UNIX_EPOCH};
/// use evertask::schedule::{Fri, cron, every};
///
/// let schedule = every(2).weeks().on(Fri).at("18:00").tz("Europe/Rome")?;
/// assert_eq!(schedule.to_string(), "every 2 weeks on Friday at 18:00 (Europe/Rome)");
///
/// let hourly = cron("30 * * * *")?;
/// assert_eq!(hourly.next(UNIX_EPOCH), Some(UNIX_EPOCH + Duration::from_secs(1800)));
/// # Ok(()) }
/// ```
///
/// Two are equal if they are written the same: they then hold the same instants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub(crate) kind: Kind,
    /// What counted rules are counted from, in milliseconds since the epoch.
    pub(crate) anchor: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A number of milliseconds, whatever the clocks on the wall do.
    Elapsed { every: i64 },
    /// By the wall clock of a zone.
    Wall {
        calendar: Calendar,
        zone: Zone,
        /// The expression it was read from, in capitals and with single blanks.
        cron: Option<String>,
    },
}

impl Schedule {
    /// A fixed interval: elapsed time, whatever the clocks on the wall do.
    ///
    /// It keeps its phase: counted from the [anchor](Self::anchored), or from 1970-01-01T00:00:00Z where there is none, so that
    /// `every(5).minutes()` is 00:00, 00:05, 00:10, … UTC.
    ///
    /// # Errors
    ///
    /// The interval is less than a millisecond, no whole number of milliseconds, or longer than 100 years.
    pub fn every(interval: Duration) -> Result<Self, ScheduleError> {
        let wrong = |problem: &str| Err(ScheduleError::new(Field::Every, problem));
        if interval.is_zero() {
            return wrong("an interval of zero is none; write a duration such as `5m`");
        }
        if !interval.subsec_nanos().is_multiple_of(1_000_000) {
            return wrong("an interval is a whole number of milliseconds, at least one");
        }
        if interval > EVERY_MAX {
            return wrong("an interval is at most 100 years");
        }
        // 100 years of milliseconds are 3 × 10¹².
        Ok(Self { kind: Kind::Elapsed { every: interval.as_millis() as i64 }, anchor: None })
    }

    /// A schedule by the wall of UTC.
    pub(crate) fn wall(calendar: Calendar, cron: Option<String>) -> Self {
        Self { kind: Kind::Wall { calendar, zone: Zone::UTC, cron }, anchor: None }
    }

    /// Refuses one that has no instant at all. Where months are counted, that depends on the anchor and so on the zone.
    pub(crate) fn checked(self) -> Result<Self, ScheduleError> {
        if let Kind::Wall { calendar, zone, .. } = &self.kind {
            // An early start for those that name years: what is over is still a schedule, only without a next instant.
            if calendar.next(-1, self.anchor_day(*zone)).is_none() {
                let problem = match self.anchor {
                    Some(_) => {
                        "no such day is in any of the months that are counted, so it would never fire"
                    }
                    None => "no such day is in any month, so it would never fire",
                };
                return Err(ScheduleError::new(Field::DayOfMonth, problem));
            }
        }
        Ok(self)
    }

    /// The same rule by the wall clocks of a zone of the IANA database, such as `Europe/Rome`. Without, they are UTC's.
    ///
    /// # Errors
    ///
    /// There is no such zone; the error suggests one. Or this is a fixed interval, which has none. Or no month that is counted
    /// by the clocks of that zone has such a day.
    pub fn tz(mut self, name: &str) -> Result<Self, ScheduleError> {
        let named = Zone::named(name)?;
        match &mut self.kind {
            Kind::Wall { zone, .. } => *zone = named,
            Kind::Elapsed { .. } => {
                return Err(ScheduleError::new(
                    Field::Zone,
                    "a fixed interval is elapsed time, which is the same in all zones; leave the zone out",
                ));
            }
        }
        self.checked()
    }

    /// The same rule, counted from this instant (to the millisecond) where it [counts](Self::is_counted): "every 5 minutes" and
    /// "every 2 weeks" then include it, or the day, week or month that it is in. Other rules stay as they are. What is not within
    /// the years 1 to 9999 counts as their beginning or end.
    #[must_use]
    pub fn anchored(mut self, at: SystemTime) -> Self {
        if self.is_counted() {
            self.anchor = Some(millis(at).clamp(FIRST * 1000, LAST * 1000 + 999));
        }
        self
    }

    /// What it is counted from, if that was said. If not, that is 1970-01-01 00:00, in its zone.
    #[must_use]
    pub fn anchor(&self) -> Option<SystemTime> {
        self.anchor.and_then(instant)
    }

    /// Whether it matters from where it is counted: for fixed intervals, and for every nth day, week or month.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        match &self.kind {
            Kind::Elapsed { .. } => true,
            Kind::Wall { calendar, .. } => calendar.dates.is_counted(),
        }
    }

    /// The name of its zone; a fixed interval has none.
    #[must_use]
    pub fn zone(&self) -> Option<&'static str> {
        match &self.kind {
            Kind::Elapsed { .. } => None,
            Kind::Wall { zone, .. } => Some(zone.name()),
        }
    }

    /// The first instant that is later than `after`; none if there is none until the end of the year 9999.
    ///
    /// It costs the same however far `after` is from any other instant of the schedule.
    #[must_use]
    pub fn next(&self, after: SystemTime) -> Option<SystemTime> {
        // All instants are whole milliseconds, or seconds: later than `after` is later than its whole part.
        let after = millis(after);
        let next = match &self.kind {
            Kind::Elapsed { every } => {
                let from = self.anchor.unwrap_or(0);
                after + every - (after - from).rem_euclid(*every)
            }
            Kind::Wall { calendar, zone, .. } => {
                calendar.next_in(*zone, after.div_euclid(1000), self.anchor_day(*zone))? * 1000
            }
        };
        instant(next).filter(|_| next <= LAST * 1000)
    }

    /// The last instant that is earlier than `before`; none if there is none since the year 1.
    ///
    /// What was missed while nobody looked ends with it. It is found by asking for the next one, some fifty times.
    #[must_use]
    pub fn previous(&self, before: SystemTime) -> Option<SystemTime> {
        // Whoever is earlier than `before` by less than a millisecond is not lost: instants are whole ones.
        let end = millis(before) + i64::from(instant(millis(before)) < Some(before));
        let next = |after: i64| Some(millis(self.next(instant(after)?)?)).filter(|at| *at < end);
        let mut step = 1000;
        let mut last = loop {
            let from = (end - step).max(FIRST * 1000 - 1);
            if let Some(at) = next(from) {
                break at;
            }
            if from < FIRST * 1000 {
                return None;
            }
            step *= 2;
        };
        // Between one that is known and the end, halve what may hold a later one.
        let mut over = end;
        while last + 1 < over {
            let middle = last + (over - last) / 2;
            match next(middle - 1) {
                Some(later) => last = later,
                None => over = middle,
            }
        }
        instant(last)
    }

    /// Whether this instant belongs to it.
    #[must_use]
    pub fn contains(&self, at: SystemTime) -> bool {
        at.checked_sub(Duration::from_nanos(100)).and_then(|before| self.next(before)) == Some(at)
    }

    /// All instants later than `after`, one after the other.
    pub fn after(&self, after: SystemTime) -> impl Iterator<Item = SystemTime> {
        std::iter::successors(self.next(after), |last| self.next(*last))
    }

    /// The form in which it is stored: one line of text that says its version, and that a person can read.
    ///
    /// ```
    /// # mod evertask { pub use evertask_schedule as schedule; }
    /// # fn main() -> Result<(), evertask_schedule::ScheduleError> {
    /// use evertask::schedule::{Schedule, every_day};
    ///
    /// let schedule = every_day().at("09:00").tz("Europe/Rome")?;
    /// assert_eq!(schedule.to_wire(), "v1 days 1 at 09:00 tz Europe/Rome");
    /// assert_eq!(Schedule::from_wire("v1 days 1 at 09:00 tz Europe/Rome")?, schedule);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn to_wire(&self) -> String {
        wire::write(self)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// It was written by a later version, names a zone that this one does not know, or is none.
    pub fn from_wire(text: &str) -> Result<Self, ScheduleError> {
        wire::read(text)
    }

    /// The day the anchor is in.
    fn anchor_day(&self, zone: Zone) -> Day {
        self.anchor.map_or(0, |anchor| {
            let at = anchor.div_euclid(1000);
            (at + zone.offset(at)).div_euclid(DAY)
        })
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    /// Reads a cron expression, as [`cron`](crate::cron) does.
    fn from_str(expression: &str) -> Result<Self, ScheduleError> {
        crate::cron(expression)
    }
}

impl fmt::Display for Schedule {
    /// In words: `every day at 09:00 (Europe/Rome)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&words::describe(self))
    }
}

impl serde::Serialize for Schedule {
    /// As the text of [`to_wire`](Self::to_wire).
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.to_wire())
    }
}

impl<'de> serde::Deserialize<'de> for Schedule {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::from_wire(&text).map_err(serde::de::Error::custom)
    }
}

/// Whole milliseconds since the epoch, within the years that are counted.
fn millis(at: SystemTime) -> i64 {
    let millis = match at.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => {
            let nanos = before.duration().as_nanos();
            i64::try_from(nanos.div_ceil(1_000_000)).map_or(i64::MIN, |millis| -millis)
        }
    };
    millis.clamp(FIRST * 1000 - 1, (LAST + 1) * 1000)
}

fn instant(millis: i64) -> Option<SystemTime> {
    let away = Duration::from_millis(millis.unsigned_abs());
    if millis < 0 { UNIX_EPOCH.checked_sub(away) } else { UNIX_EPOCH.checked_add(away) }
}
