//! The tasks: a small payload and nothing to do but to say when they began.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// What a task is given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Welcome {
    /// When it was to be dispatched, in nanoseconds since the benchmark began; 0 where nobody asks.
    pub(crate) planned: u64,
    pub(crate) email: String,
}

impl Welcome {
    pub(crate) fn to(user_id: u64) -> Self {
        Self { planned: 0, email: format!("user{user_id}@example.com") }
    }

    pub(crate) fn at(planned: Duration) -> Self {
        let planned = u64::try_from(planned.as_nanos()).unwrap_or(u64::MAX);
        Self { planned, email: "user@example.com".to_owned() }
    }

    /// All there is to do.
    pub(crate) fn began(&self) {
        if self.planned > 0 {
            let waited = now().saturating_sub(Duration::from_nanos(self.planned));
            let micros = u32::try_from(waited.as_micros()).unwrap_or(u32::MAX);
            WAITED.lock().unwrap_or_else(PoisonError::into_inner).push(micros);
        }
        RAN.fetch_add(1, Ordering::Release);
    }
}

#[evertask::handler]
pub(crate) async fn welcome(user: Welcome) {
    user.began();
}

static RAN: AtomicU64 = AtomicU64::new(0);
static WAITED: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Since the benchmark began.
pub(crate) fn now() -> Duration {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    // Never 0, which means that nobody asks.
    START.elapsed() + Duration::from_nanos(1)
}

/// How many tasks have begun.
pub(crate) fn ran() -> u64 {
    RAN.load(Ordering::Acquire)
}

/// How long each waited that has begun since this was asked last, in microseconds.
pub(crate) fn waited() -> Vec<u32> {
    std::mem::take(&mut WAITED.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Waits until so many have begun.
pub(crate) async fn until_ran(runs: u64) {
    while ran() < runs {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
