//! How a background loop waits between two tries: longer each time, never in step with the others, for ever.

use std::time::Duration;

use crate::chance::jittered;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

/// The waits of one loop. They double from 50 ms to 5 s, or as is said, each shortened by up to half at random.
#[derive(Debug)]
pub(crate) struct Patience {
    next: Duration,
    longest: Duration,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self::between((FIRST, LONGEST))
    }

    pub(crate) fn between((next, longest): (Duration, Duration)) -> Self {
        Self { next, longest }
    }

    pub(crate) fn wait(&mut self) -> Duration {
        let wait = jittered(self.next);
        self.next = (self.next * 2).min(self.longest);
        wait
    }
}
