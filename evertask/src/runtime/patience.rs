//! How a background loop waits between two tries: longer each time, never in step with the others, for ever.

use std::time::Duration;

use crate::chance::jittered;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

/// The waits of one loop. They double from 50 ms to 5 s, each shortened by up to half at random.
#[derive(Debug)]
pub(crate) struct Patience {
    next: Duration,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    pub(crate) fn wait(&mut self) -> Duration {
        let wait = jittered(self.next);
        self.next = (self.next * 2).min(LONGEST);
        wait
    }
}
