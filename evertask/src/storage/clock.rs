//! The clock of an embedded storage.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Where an embedded storage reads the time: the host's wall clock, unless a test gives it another.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// The wall clock of the host.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// A clock that goes with tokio's, so that `tokio::time::pause` and `advance` move it.
    #[must_use]
    pub fn tokio() -> Self {
        let (wall, start) = (SystemTime::now(), tokio::time::Instant::now());
        Self(Arc::new(move || wall + start.elapsed()))
    }

    /// Any clock.
    pub fn from_fn(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// What it says.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }

    /// What it says, in microseconds since 1970: the form in which instants are stored.
    #[must_use]
    pub fn micros(&self) -> i64 {
        to_micros(self.now())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// Microseconds since 1970; what lies further off than they reach is cut.
pub(crate) fn to_micros(at: SystemTime) -> i64 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => duration_micros(since),
        Err(before) => -duration_micros(before.duration()),
    }
}

/// The instant so many microseconds after 1970.
pub(crate) fn from_micros(micros: i64) -> SystemTime {
    let distance = Duration::from_micros(micros.unsigned_abs());
    if micros < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

/// A duration in microseconds, cut at a bound that leaves room for sums.
pub(crate) fn duration_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

/// A clock that only goes when told to, for tests of storages.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that stands at noon of 1 January 2026, UTC.
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_767_268_800_000_000)))
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(duration_micros(by), Ordering::SeqCst);
    }

    /// What it says.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        from_micros(self.0.load(Ordering::SeqCst))
    }

    /// The same clock in the form that storages take.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let this = self.clone();
        Clock::from_fn(move || this.now())
    }
}
