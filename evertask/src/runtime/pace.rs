//! How quick the attempts in one queue are, and how many tasks it pays to take ahead of their slots.

use std::time::Duration;

/// Attempts that take this long on average are not quick, and a task taken ahead of quick ones has its slot within this time.
const QUICK: Duration = Duration::from_millis(20);
/// The most tasks that are taken ahead in one queue, or one for each of its slots if those are more.
pub(crate) const AHEAD_MAX: usize = 1_000;

/// A running mean of how long attempts take; none seen yet is not quick.
#[derive(Debug, Default)]
pub(crate) struct Pace(Option<Duration>);

impl Pace {
    /// An attempt took this long.
    pub(crate) fn saw(&mut self, ran: Duration) {
        // One part in eight: a slow one is noticed at once, quickness has to be shown a few times.
        self.0 =
            Some(self.0.map_or(ran, |mean| {
                if ran >= QUICK { ran.max(mean) } else { (mean * 7 + ran) / 8 }
            }));
    }

    /// Slots did not come free in time.
    pub(crate) fn saw_none(&mut self) {
        self.0 = Some(QUICK);
    }

    /// How many tasks may wait for these slots: as many as will have one soon.
    pub(crate) fn ahead(&self, slots: usize) -> usize {
        let Some(mean) = self.0.filter(|mean| *mean < QUICK) else { return 0 };
        let turns = QUICK.as_nanos() / mean.as_nanos().max(1);
        let turns = usize::try_from(turns).unwrap_or(usize::MAX);
        slots.saturating_mul(turns).min(slots.max(AHEAD_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(millis: &[u64]) -> Pace {
        let mut pace = Pace::default();
        millis.iter().for_each(|ran| pace.saw(Duration::from_millis(*ran)));
        pace
    }

    #[test]
    fn as_many_are_taken_ahead_as_have_a_slot_soon() {
        assert_eq!(after(&[]).ahead(4), 0, "nothing is known");
        assert_eq!(after(&[20]).ahead(4), 0);
        assert_eq!(after(&[19]).ahead(4), 4);
        assert_eq!(after(&[5]).ahead(4), 16, "four turns of 5 ms are 20 ms");
        assert_eq!(after(&[0]).ahead(4), AHEAD_MAX, "bounded, however quick they are");
        assert_eq!(after(&[0]).ahead(usize::MAX), usize::MAX);
    }

    #[test]
    fn a_slow_attempt_counts_at_once_and_quick_ones_only_in_number() {
        assert_eq!(after(&[1, 1, 1, 20]).ahead(4), 0);
        assert_eq!(after(&[100, 1]).ahead(4), 0);
        let many_quick: Vec<_> = std::iter::once(100).chain([1; 20]).collect();
        assert!(after(&many_quick).ahead(4) > 0);
        let mut pace = after(&[1]);
        pace.saw_none();
        assert_eq!(pace.ahead(4), 0);
    }
}
