//! What can be asked about stored tasks, and the answers.

use std::time::{Duration, SystemTime};

use crate::task::{TaskId, TaskState};

/// Which tasks to list. An empty filter matches all.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TaskFilter {
    /// Of this handler.
    pub name: Option<String>,
    /// In this queue.
    pub queue: Option<String>,
    /// In this state.
    pub state: Option<TaskState>,
    /// With this tag.
    pub tag: Option<(String, String)>,
    /// With a key that begins so.
    pub key_prefix: Option<String>,
    /// Stored at or after this instant.
    pub created_from: Option<SystemTime>,
    /// Stored before this instant.
    pub created_to: Option<SystemTime>,
    /// With an attempt that failed with this fingerprint.
    pub fingerprint: Option<u64>,
}

/// Which part of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only tasks whose id is smaller: the last id of the page before.
    pub before: Option<TaskId>,
    /// At most so many, 1 to [`PAGE_MAX`](crate::bounds::PAGE_MAX).
    pub limit: usize,
}

impl Default for Page {
    fn default() -> Self {
        Self { before: None, limit: 50 }
    }
}

/// A number of tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// In this queue.
    pub queue: String,
    /// Of this handler.
    pub name: String,
    /// In this state.
    pub state: TaskState,
    /// So many.
    pub tasks: u64,
}

/// Tasks that are due and wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// In this queue.
    pub queue: String,
    /// Of this handler.
    pub name: String,
    /// With this payload version.
    pub version: u32,
    /// So many are due; counted up to 10,000.
    pub due: u64,
    /// How long the first of them has been due.
    pub oldest: Duration,
}
