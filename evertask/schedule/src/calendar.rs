//! Days and times together: a set of wall times, and through a zone, the instants they stand for.

use crate::{
    dates::{Dates, Day},
    times::{DAY, Times},
    zone::{Shown, Zone},
};

/// A set of times on the wall, without any zone.
///
/// A wall time is counted in seconds since 1970-01-01 00:00 *on the wall*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Calendar {
    pub(crate) dates: Dates,
    pub(crate) times: Times,
    /// Whether it goes through the hours ("every 15 minutes") instead of naming them ("at 02:30"): what is shown twice by a
    /// clock that is put back then counts twice.
    pub(crate) repeats: bool,
}

impl Calendar {
    /// The first wall time after `wall`.
    pub(crate) fn next(&self, wall: i64, anchor: Day) -> Option<i64> {
        let (today, time) = (wall.div_euclid(DAY), wall.rem_euclid(DAY) as u32);
        let mut day = self.dates.from(today, anchor)?;
        if day == today {
            if let Some(time) = self.times.after(time) {
                return Some(day * DAY + i64::from(time));
            }
            day = self.dates.from(today + 1, anchor)?;
        }
        Some(day * DAY + i64::from(self.times.first()))
    }

    /// The first instant after `after`, in seconds since the epoch.
    ///
    /// The rule for clocks that change stands here: a wall time that is jumped over is the instant at which the clock goes on;
    /// one that is shown twice is the first of the two instants, and both if the rule goes through the hours.
    pub(crate) fn next_in(&self, zone: Zone, after: i64, anchor: Day) -> Option<i64> {
        let ahead = self.ahead(zone, after, anchor);
        // Clocks do not change twice within two days: one that shows then what it shows now has not been put back in between.
        let soon = ahead.filter(|at| *at <= after + DAY);
        if !self.repeats || soon.is_some_and(|at| zone.offset(at) == zone.offset(after)) {
            return ahead;
        }
        // What the wall already showed comes again if the clock is about to be put back.
        let again = zone.put_back(after).and_then(|clock| {
            let wall = self.next(clock.to - 1, anchor)?;
            (wall < clock.from).then(|| clock.at + (wall - clock.to))
        });
        match (ahead, again) {
            (Some(ahead), Some(again)) => Some(ahead.min(again)),
            (ahead, again) => ahead.or(again),
        }
    }

    /// The first instant of the wall times that are after the one the wall shows now.
    fn ahead(&self, zone: Zone, after: i64, anchor: Day) -> Option<i64> {
        let mut wall = after + zone.offset(after);
        loop {
            wall = self.next(wall, anchor)?;
            match zone.shown(wall) {
                Shown::Once(at) | Shown::Never { resumes: at } => return Some(at),
                Shown::Twice { first, .. } if first > after => return Some(first),
                Shown::Twice { second, .. } if self.repeats => return Some(second),
                // All that is shown for the second time has had its turn.
                Shown::Twice { .. } => wall = zone.shown_twice_until(wall) - 1,
            }
        }
    }
}
