//! What is to be done with a task by rule: how often, how long, how soon again, how long kept.
//!
//! Plain values. Each is looked up in the same order: the dispatch, the handler, its queue, the runtime.

use std::time::Duration;

use crate::{bounds::DELAY_MAX, task::TaskId};

/// How many attempts follow the first one where nobody says otherwise.
pub(crate) const RETRIES: u32 = 10;

/// A setting with three values: not said here (ask the next level), said to be none, or a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Setting<T> {
    /// Not said here: the queue decides, then the runtime.
    #[default]
    Inherit,
    /// Said here: none, whatever the outer levels say.
    None,
    /// Said here.
    Value(T),
}

impl<T> Setting<T> {
    /// This setting, or where it says nothing, the outer one.
    #[must_use]
    pub fn or(self, outer: Self) -> Self {
        match self {
            Self::Inherit => outer,
            said => said,
        }
    }

    /// The value; nothing said at any level is none.
    #[must_use]
    pub fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Inherit | Self::None => None,
        }
    }
}

impl<T> From<T> for Setting<T> {
    fn from(value: T) -> Self {
        Self::Value(value)
    }
}

impl<T> From<Option<T>> for Setting<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Self::Value)
    }
}

/// How long to wait before the next attempt.
///
/// ```
/// use std::time::Duration;
/// use evertask::Backoff;
///
/// let backoff = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(3600)).without_jitter();
/// assert_eq!(backoff.base(1), Duration::from_secs(1));
/// assert_eq!(backoff.base(4), Duration::from_secs(8));
/// assert_eq!(backoff.base(40), Duration::from_secs(3600));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    shape: Shape,
    jitter: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Exponential { first: Duration, max: Duration },
    Fixed(Duration),
    List(&'static [Duration]),
}

impl Default for Backoff {
    /// Exponential from 1 s, doubling, at most 1 h, with jitter.
    fn default() -> Self {
        Self::exponential(Duration::from_secs(1), Duration::from_secs(3600))
    }
}

impl Backoff {
    /// `first` before the second attempt, doubled before each further one, never more than `max`.
    #[must_use]
    pub const fn exponential(first: Duration, max: Duration) -> Self {
        Self { shape: Shape::Exponential { first, max }, jitter: true }
    }

    /// The same delay before every attempt.
    #[must_use]
    pub const fn fixed(delay: Duration) -> Self {
        Self { shape: Shape::Fixed(delay), jitter: true }
    }

    /// One delay after the other; the last one is used from then on. An empty list waits not at all.
    #[must_use]
    pub const fn list(delays: &'static [Duration]) -> Self {
        Self { shape: Shape::List(delays), jitter: true }
    }

    /// The same delays without the random part.
    #[must_use]
    pub const fn without_jitter(mut self) -> Self {
        self.jitter = false;
        self
    }

    /// The delay after `attempt` attempts (1, 2, …) before jitter.
    #[must_use]
    pub fn base(&self, attempt: u32) -> Duration {
        let step = attempt.saturating_sub(1);
        let delay = match self.shape {
            Shape::Fixed(delay) => delay,
            Shape::Exponential { first, max } => {
                // 2^32 times any real `first` is over every `max` that makes sense.
                first.saturating_mul(1_u32.checked_shl(step).unwrap_or(u32::MAX)).min(max)
            }
            Shape::List(delays) => {
                let last = delays.len().saturating_sub(1);
                delays.get((step as usize).min(last)).copied().unwrap_or_default()
            }
        };
        delay.min(DELAY_MAX)
    }

    /// The delay after `attempt` attempts of this task.
    ///
    /// Jitter takes away up to half ("equal jitter", <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>),
    /// so that tasks which failed together do not come back together. It is a hash of task and attempt, not a dice:
    /// the same question has the same answer.
    #[must_use]
    pub fn delay(&self, task: TaskId, attempt: u32) -> Duration {
        let base = self.base(attempt);
        if !self.jitter {
            return base;
        }
        base.mul_f64(1.0 - 0.5 * unit_hash(task, attempt))
    }
}

/// A number in `0.0..1.0` that is always the same for one task and attempt, and evenly spread over many.
fn unit_hash(task: TaskId, attempt: u32) -> f64 {
    let bits = task.as_uuid().as_u128();
    let mut x = (bits as u64) ^ ((bits >> 64) as u64).rotate_left(32) ^ (u64::from(attempt) << 17);
    // The finalizer of splitmix64 (Steele, Lea, Flood 2014).
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^= x >> 31;
    (x >> 11) as f64 / (1_u64 << 53) as f64
}

/// How long a task is kept after it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// For ever. Nothing deletes such a task, so the storage grows with each.
    Forever,
    /// This long, counted from its end by the storage's clock.
    For(Duration),
    /// Deleted in the same write that ends it.
    No,
}

/// How long tasks are kept after they ended, by how they ended.
///
/// ```
/// use std::time::Duration;
/// use evertask::Retention;
///
/// let retention = Retention::default().failed(Duration::from_secs(30 * 86_400)).completed(None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub(crate) completed: Keep,
    pub(crate) cancelled: Keep,
    pub(crate) failed: Keep,
}

impl Default for Retention {
    /// Completed and cancelled tasks one day, failed ones fourteen days.
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self { completed: Keep::For(DAY), cancelled: Keep::For(DAY), failed: Keep::For(14 * DAY) }
    }
}

impl Retention {
    /// Keeps every ended task for ever. Nothing deletes them, so the storage grows: say a long time if you are not sure.
    #[must_use]
    pub fn forever() -> Self {
        Self { completed: Keep::Forever, cancelled: Keep::Forever, failed: Keep::Forever }
    }

    /// Completed tasks are deleted in the write that completes them; the others stay as they were.
    ///
    /// Nothing remembers them then: a dispatch whose answer was lost, and that is tried again after the task has completed, stores
    /// and runs it once more.
    #[must_use]
    pub fn ephemeral(mut self) -> Self {
        self.completed = Keep::No;
        self
    }

    /// How long completed tasks are kept; `None` keeps them.
    #[must_use]
    pub fn completed(mut self, keep: impl Into<Option<Duration>>) -> Self {
        self.completed = Keep::from(keep.into());
        self
    }

    /// How long cancelled tasks are kept; `None` keeps them.
    #[must_use]
    pub fn cancelled(mut self, keep: impl Into<Option<Duration>>) -> Self {
        self.cancelled = Keep::from(keep.into());
        self
    }

    /// How long failed tasks are kept; `None` keeps them.
    #[must_use]
    pub fn failed(mut self, keep: impl Into<Option<Duration>>) -> Self {
        self.failed = Keep::from(keep.into());
        self
    }
}

impl From<Option<Duration>> for Keep {
    fn from(keep: Option<Duration>) -> Self {
        keep.map_or(Self::Forever, Self::For)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn the_inner_level_wins_and_none_is_an_answer() {
        let outer = Setting::Value(1);
        assert_eq!(Setting::Inherit.or(outer).value(), Some(1));
        assert_eq!(Setting::None.or(outer).value(), None);
        assert_eq!(Setting::Value(2).or(outer).value(), Some(2));
    }

    #[test]
    fn a_list_repeats_its_last_delay_and_an_empty_one_waits_not_at_all() {
        const DELAYS: &[Duration] = &[Duration::from_secs(1), Duration::from_secs(10)];
        let list = Backoff::list(DELAYS);
        assert_eq!([1, 2, 3, 99].map(|n| list.base(n)), [secs(1), secs(10), secs(10), secs(10)]);
        assert_eq!(Backoff::list(&[]).base(3), Duration::ZERO);
    }

    #[test]
    fn no_attempt_number_overflows() {
        let wild = Backoff::exponential(Duration::MAX, Duration::MAX);
        assert_eq!(wild.base(u32::MAX), DELAY_MAX);
        assert_eq!(Backoff::default().base(u32::MAX), secs(3600));
    }

    #[test]
    fn jitter_is_repeatable_takes_at_most_half_and_spreads() {
        let backoff = Backoff::fixed(secs(100));
        let delays: Vec<_> = (0..1000).map(|_| backoff.delay(TaskId::new(), 1)).collect();
        assert!(delays.iter().all(|d| (secs(50)..=secs(100)).contains(d)));
        let early = delays.iter().filter(|d| **d < secs(75)).count();
        assert!((400..600).contains(&early), "{early} of 1000 in the lower half");
        let task = TaskId::new();
        assert_eq!(backoff.delay(task, 3), backoff.delay(task, 3));
        assert_ne!(backoff.delay(task, 3), backoff.delay(task, 4));
    }
}
