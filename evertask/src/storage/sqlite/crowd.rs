//! Which requests share a commit, and how long one is put off for those who may come again.
//!
//! Whoever was just answered often asks again at once, but a little too late for the next commit. So whoever comes while a
//! transaction is open still joins it, and were it not put off for a moment where some are missing, a crowd would split in two halves
//! that take turns, and each commit would serve only one of them.

use std::{
    sync::mpsc::Receiver,
    thread,
    time::{Duration, Instant},
};

use super::request::Ask;

/// The requests of one commit.
pub(super) type Batch = Vec<Box<dyn Ask>>;

/// Most requests in one commit, and most that may wait for one.
pub(super) const REQUESTS_MAX: usize = 1_024;
/// No more requests are taken into a commit that holds this many rows.
const ROWS_MAX: usize = 10_000;
/// The longest that a commit is put off.
const MOMENT: Duration = Duration::from_millis(1);
/// How often it is looked who has come meanwhile.
const NAP: Duration = Duration::from_micros(50);

/// Those who had asked when the last commit was done: whom it served, and who had come meanwhile.
pub(super) struct Crowd {
    /// How many there were; none if only one was served, who would wait for nobody but himself.
    size: usize,
    /// Until when they are waited for.
    until: Instant,
}

impl Crowd {
    pub(super) fn new() -> Self {
        Self { size: 0, until: Instant::now() }
    }

    /// A commit that took this long has served so many requests, and with those that had come meanwhile there were so many.
    pub(super) fn served(&mut self, requests: usize, all: usize, took: Duration) {
        self.size = if requests > 1 { all } else { 0 };
        self.until = Instant::now() + (took / 4).min(MOMENT);
    }

    /// Adds to the requests of a commit those that are there, as far as they fit. If there are none, those of the crowd are waited
    /// for that may come soon. False once nobody else is to be in this commit.
    pub(super) fn gather(&self, inbox: &Receiver<Box<dyn Ask>>, batch: &mut Batch) -> bool {
        while rows_left(batch) > 0 {
            if take(inbox, batch) {
                return true;
            }
            let Some(nap) = self.nap(batch.len(), Instant::now()) else { break };
            // Not asleep on the inbox: there, each one that comes would have to wake this thread.
            thread::sleep(nap);
        }
        false
    }

    /// How long to sleep before the next look, if with so many together it is worth one.
    fn nap(&self, together: usize, now: Instant) -> Option<Duration> {
        let left = self.until.saturating_duration_since(now);
        (together < self.size && !left.is_zero()).then_some(left.min(NAP))
    }
}

/// Adds to the requests of a commit those that are there, as far as they fit. True if there were any.
pub(super) fn take(inbox: &Receiver<Box<dyn Ask>>, batch: &mut Batch) -> bool {
    let before = batch.len();
    let mut left = rows_left(batch);
    while left > 0
        && batch.len() < REQUESTS_MAX
        && let Ok(next) = inbox.try_recv()
    {
        left = left.saturating_sub(next.label().rows);
        batch.push(next);
    }
    batch.len() > before
}

/// How many rows there is room for; none if there are requests enough.
fn rows_left(batch: &[Box<dyn Ask>]) -> usize {
    if batch.len() >= REQUESTS_MAX {
        return 0;
    }
    batch.iter().fold(ROWS_MAX, |left, one| left.saturating_sub(one.label().rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_waited_for_until_it_is_together_or_a_moment_has_passed() {
        let mut crowd = Crowd::new();
        assert_eq!(crowd.nap(1, Instant::now()), None, "nobody was served yet");
        crowd.served(3, 5, Duration::from_secs(1));
        let now = Instant::now();
        assert!(crowd.nap(4, now).is_some_and(|nap| nap <= NAP));
        assert_eq!(crowd.nap(5, now), None, "all are there");
        assert_eq!(crowd.nap(4, now + MOMENT), None, "the fifth is not in a hurry");
    }

    #[test]
    fn a_quick_commit_is_not_put_off_for_longer_than_it_is_worth() {
        let mut crowd = Crowd::new();
        crowd.served(3, 5, Duration::from_micros(40));
        assert_eq!(crowd.nap(4, Instant::now() + Duration::from_micros(10)), None);
    }

    #[test]
    fn who_is_alone_waits_for_nobody() {
        let mut crowd = Crowd::new();
        crowd.served(3, 5, Duration::from_secs(1));
        crowd.served(1, 2, Duration::from_secs(1));
        assert_eq!(crowd.nap(1, Instant::now()), None);
    }
}
