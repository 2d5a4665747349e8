//! What the clocks on the wall show, zone by zone: where they jump ahead, and where they are put back.

use std::fmt;

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};

use crate::{
    error::{Field, ScheduleError},
    times::DAY,
};

/// A time zone of the IANA database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Zone(Tz);

/// When a time on the wall is there, in seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Once(i64),
    /// The clock jumped over it and went on at this instant.
    Never {
        resumes: i64,
    },
    /// The clock was put back and showed it again.
    Twice {
        first: i64,
        second: i64,
    },
}

impl Zone {
    pub(crate) const UTC: Self = Self(Tz::UTC);

    pub(crate) fn named(name: &str) -> Result<Self, ScheduleError> {
        name.parse().map(Self).map_err(|_| {
            let mut problem = format!("`{name}` is no zone of the tz database");
            match suggestion(name) {
                Some(meant) => problem += &format!("; did you mean `{meant}`?"),
                None => problem += "; write one such as `Europe/Rome`",
            }
            ScheduleError::new(Field::Zone, problem).newer()
        })
    }

    pub(crate) fn is_known(name: &str) -> bool {
        name.parse::<Tz>().is_ok()
    }

    pub(crate) fn name(self) -> &'static str {
        self.0.name()
    }

    /// How many seconds the wall is ahead of UTC at an instant.
    pub(crate) fn offset(self, at: i64) -> i64 {
        if self.0 == Tz::UTC {
            return 0;
        }
        // The instants asked for are within a day of the years that `Schedule::next` bounds.
        let utc = DateTime::from_timestamp(at, 0).unwrap_or_default().naive_utc();
        self.0.offset_from_utc_datetime(&utc).fix().local_minus_utc().into()
    }

    /// The instants at which the wall shows `wall`.
    ///
    /// No zone is more than a day away from UTC, and none changes its clock twice within two days. So what holds a day before
    /// and a day after says all, and both agree on all days but a few.
    pub(crate) fn shown(self, wall: i64) -> Shown {
        let (before, after) = (self.offset(wall - DAY), self.offset(wall + DAY));
        if before == after {
            return Shown::Once(wall - before);
        }
        let (first, second) = (wall - before, wall - after);
        match (self.offset(first) == before, self.offset(second) == after) {
            (true, true) => Shown::Twice { first, second },
            (true, false) => Shown::Once(first),
            (false, true) => Shown::Once(second),
            (false, false) => Shown::Never { resumes: self.change(wall - DAY, wall + DAY) },
        }
    }

    /// Up to where the wall times go that are shown twice, as this one is.
    pub(crate) fn shown_twice_until(self, wall: i64) -> i64 {
        self.change(wall - DAY, wall + DAY) + self.offset(wall - DAY)
    }

    /// Where the clock is put back within a day after an instant: that instant, and the wall times it goes back from and to.
    pub(crate) fn put_back(self, after: i64) -> Option<PutBack> {
        let (from, to) = (self.offset(after), self.offset(after + DAY));
        (to < from).then(|| {
            let at = self.change(after, after + DAY);
            PutBack { at, from: at + from, to: at + to }
        })
    }

    /// The first instant after `from` at which another offset holds than at `from`. It does so at `to`.
    fn change(self, mut from: i64, mut to: i64) -> i64 {
        let old = self.offset(from);
        while to - from > 1 {
            let middle = from + (to - from) / 2;
            if self.offset(middle) == old { from = middle } else { to = middle }
        }
        to
    }
}

/// A clock that is put back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PutBack {
    pub(crate) at: i64,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The zone whose name is nearest, if any is near.
fn suggestion(name: &str) -> Option<&'static str> {
    // No name is longer; a longer one is not worth the comparison.
    if name.len() > 40 {
        return None;
    }
    let lower = name.to_lowercase();
    let names = TZ_VARIANTS.iter().map(|zone| zone.name());
    let city = |name: &'static str| name.rsplit('/').next().unwrap_or(name);
    let distance = |other: &'static str| {
        let whole = edits(&lower, &other.to_lowercase());
        // `Rome` and `rome` are as good as `Europe/Rom`.
        whole.min(1 + edits(&lower, &city(other).to_lowercase().replace('_', " ")) * 2)
    };
    let (distance, nearest) = names.map(|other| (distance(other), other)).min()?;
    (distance <= 3 && distance < lower.chars().count()).then_some(nearest)
}

/// How many letters are to be added, taken away or changed to come from one word to the other.
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}
