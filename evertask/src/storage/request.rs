//! What people ask of single tasks, and what pruning did: the answers.

use std::time::Duration;

use super::Ended;
use crate::task::{TaskId, TaskState};

/// What became of a wish to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancel {
    /// It was pending and is cancelled.
    Done,
    /// It is running; it will be stopped, and whatever it does until then, it will end as cancelled.
    Asked,
    /// It had ended already, so; nothing was changed.
    TooLate(TaskState),
    /// No such task is stored.
    Unknown,
}

/// What became of a wish to run a task again, or now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revive {
    /// It had ended and is pending again, due now, tries from the start.
    Revived,
    /// It was pending and is due now.
    Hastened,
    /// It is running; nothing was changed.
    Running,
    /// Another live task holds its key; nothing was changed.
    KeyTaken(TaskId),
    /// No such task is stored.
    Unknown,
}

/// What a round of pruning did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Pruned {
    /// How many ended tasks were deleted.
    pub deleted: usize,
    /// Pending tasks that had expired and are now cancelled.
    pub expired: Vec<Ended>,
    /// How long until there is something to prune again; zero if the limit left something over.
    pub next: Option<Duration>,
}
