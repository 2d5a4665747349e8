//! Where a look at the lanes may begin while their heads are littered.
//!
//! What was taken from the head of a lane stays in its index as a dead row until the server may clear it away, and it may not
//! as long as anybody's old snapshot could still see that row. A look from the very beginning wades through all of them. So when
//! such a look has taken long, those after it begin where the first pending task was found, and the whole is looked at again
//! only so often that it costs a twentieth of the time: a task may have come back to a place before, or have been committed
//! late. On a healthy server every look is a whole one, and exact.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::lane::LaneId;

/// A whole look that takes longer than this, and this for each task it took, has waded.
const LONG: Duration = Duration::from_millis(30);
const LONG_EACH: Duration = Duration::from_micros(60);
/// So many times as long as a whole look took, the next ones begin at the bookmarks.
const PAUSE: u32 = 20;
/// What became due within this time may not be committed yet, so no bookmark is put behind it. In microseconds.
const UNSETTLED: i64 = 250_000;

/// A place in a lane: when a task is due, and its id.
pub(super) type Place = (i64, Uuid);

/// Before all that can be in a lane.
pub(super) const START: Place = (i64::MIN, Uuid::nil());

/// Whether what is looked through is littered.
#[derive(Debug, Default)]
pub(super) struct Litter {
    /// Until when looks begin at bookmarks.
    until: Option<Instant>,
}

impl Litter {
    /// For how long looks still begin at bookmarks; `None` if the next one is whole.
    pub(super) fn held_for(&self) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// A whole look has taken this long, in which so many tasks were found.
    pub(super) fn looked_at_all(&mut self, took: Duration, tasks: usize) {
        let each = LONG_EACH * u32::try_from(tasks).unwrap_or(u32::MAX);
        self.until = (took > LONG + each).then(|| Instant::now() + took * PAUSE);
    }

    /// The next look is whole.
    pub(super) fn forget(&mut self) {
        self.until = None;
    }
}

/// The bookmarks of one process.
#[derive(Debug, Default)]
pub(super) struct Bookmarks {
    places: HashMap<LaneId, Place>,
    litter: Litter,
}

impl Bookmarks {
    /// For how long looks still begin at bookmarks; `None` if the next one is whole.
    pub(super) fn held_for(&self) -> Option<Duration> {
        self.litter.held_for()
    }

    /// Where to begin in this lane, if not at its start.
    pub(super) fn place(&self, lane: LaneId) -> Place {
        self.places.get(&lane).copied().unwrap_or(START)
    }

    /// A look has found this task at the head of the lane, or none.
    pub(super) fn saw(&mut self, lane: LaneId, head: Option<Place>, now: i64) {
        let settled = (now.saturating_sub(UNSETTLED), Uuid::nil());
        self.places.insert(lane, head.map_or(settled, |head| head.min(settled)));
    }

    /// A whole look has taken this long, in which so many tasks were taken.
    pub(super) fn looked_at_all(&mut self, took: Duration, tasks: usize) {
        self.litter.looked_at_all(took, tasks);
    }

    /// Something has come back to a place before: the next look is whole.
    pub(super) fn forget(&mut self) {
        self.litter.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_whole_until_one_has_waded_and_again_after_a_pause_of_many_times_as_long() {
        let mut marks = Bookmarks::default();
        assert_eq!(marks.held_for(), None);
        marks.looked_at_all(Duration::from_millis(20), 0);
        assert_eq!(marks.held_for(), None);
        marks.looked_at_all(Duration::from_millis(100), 5_000);
        assert_eq!(marks.held_for(), None, "it was not wading that took the time");
        marks.looked_at_all(Duration::from_secs(100), 5_000);
        assert!(marks.held_for().is_some_and(|left| left > Duration::from_secs(1_900)));
        marks.forget();
        assert_eq!(marks.held_for(), None);
    }

    #[test]
    fn a_bookmark_is_put_before_all_that_may_not_be_committed_yet() {
        let (mut marks, id) = (Bookmarks::default(), Uuid::max());
        assert_eq!(marks.place(1), START);
        marks.saw(1, Some((7, id)), 1_000_000);
        assert_eq!(marks.place(1), (7, id));
        let settled = (750_000, Uuid::nil());
        for head in [Some((900_000, id)), Some((2_000_000, id)), None] {
            marks.saw(1, head, 1_000_000);
            assert_eq!(marks.place(1), settled);
        }
    }
}
