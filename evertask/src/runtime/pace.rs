//! How quick the attempts in one queue are and how large their payloads, and how many tasks it pays to take ahead of their slots.

use std::time::Duration;

/// Attempts that take this long on average are not quick, and a task taken ahead of quick ones has its slot within this time.
const QUICK: Duration = Duration::from_millis(20);
/// The most tasks that are taken ahead in one queue, or one for each of its slots if those are more.
pub(crate) const AHEAD_MAX: usize = 1_000;

/// How many bytes of payload are taken ahead in one queue, by what its tasks have on average.
const AHEAD_BYTES: usize = 8 << 20;

/// Running means of what one task takes.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// How long its attempt takes; none seen yet is not quick.
    ran: Option<Duration>,
    /// How many bytes its payload has.
    bytes: usize,
}

impl Pace {
    /// An attempt took this long.
    pub(crate) fn saw(&mut self, ran: Duration) {
        // One part in eight: a slow one is noticed at once, quickness has to be shown a few times.
        self.ran =
            Some(self.ran.map_or(ran, |mean| {
                if ran >= QUICK { ran.max(mean) } else { (mean * 7 + ran) / 8 }
            }));
    }

    /// Slots did not come free in time.
    pub(crate) fn saw_none(&mut self) {
        self.ran = Some(QUICK);
    }

    /// A payload of this many bytes was claimed.
    pub(crate) fn brought(&mut self, bytes: usize) {
        // A large one counts for much at once, as there may be more of them.
        self.bytes = if bytes > self.bytes {
            self.bytes.midpoint(bytes)
        } else {
            (self.bytes * 7 + bytes) / 8
        };
    }

    /// How many tasks may wait for these slots: as many as will have one soon.
    pub(crate) fn ahead(&self, slots: usize) -> usize {
        let Some(mean) = self.ran.filter(|mean| *mean < QUICK) else { return 0 };
        let turns = QUICK.as_nanos() / mean.as_nanos().max(1);
        let turns = usize::try_from(turns).unwrap_or(usize::MAX);
        let fit = AHEAD_BYTES.checked_div(self.bytes).unwrap_or(usize::MAX);
        slots.saturating_mul(turns).min(slots.max(AHEAD_MAX)).min(fit)
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
    fn large_payloads_are_taken_ahead_in_small_numbers() {
        let mut pace = after(&[0]);
        (0..10).for_each(|_| pace.brought(8 << 10));
        assert_eq!(pace.ahead(4), AHEAD_MAX, "a thousand of them are no burden");
        (0..3).for_each(|_| pace.brought(1 << 20));
        assert!(pace.ahead(4) < 10, "{pace:?}");
        (0..100).for_each(|_| pace.brought(100));
        assert_eq!(pace.ahead(4), AHEAD_MAX, "they are gone");
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
