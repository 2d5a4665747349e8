//! A task as its owner sees it: its number, its state, what is known of it.

use std::{collections::BTreeMap, fmt, str::FromStr, time::SystemTime};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::body::Body;

/// The number of a task: a UUIDv7, so ids of later tasks sort after those of earlier ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(Uuid);

impl TaskId {
    /// A new number, larger than all this process made before.
    #[must_use]
    #[allow(clippy::new_without_default)] // two defaults would not be equal
    pub fn new() -> Self {
        Self(crate::chance::identity())
    }

    /// The id with these bits, for one that came from a database.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// True for the id that stands for no task.
    #[must_use]
    pub const fn is_nil(&self) -> bool {
        self.0.is_nil()
    }

    /// The id as a UUID.
    #[must_use]
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({})", self.0)
    }
}

impl FromStr for TaskId {
    type Err = BadTaskId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| BadTaskId(text.chars().take(64).collect()))
    }
}

/// Text that is no task id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no task id; one looks like 0198c6a1-7d3e-7c4b-9a55-0d3a5c1f2e77")]
pub struct BadTaskId(String);

/// Where a task stands.
///
/// "Scheduled", "retrying" and "waiting for its turn" are all [`Pending`](Self::Pending), with a time from which it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TaskState {
    /// Stored, and to be run when it is due.
    Pending,
    /// Held by a node.
    Running,
    /// Ended well.
    Completed,
    /// Ended badly: no attempts left, or an error that more attempts would not mend.
    Failed,
    /// Ended because someone asked for it, or because it expired.
    Cancelled,
}

impl TaskState {
    /// True for the three states nothing leaves by itself.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The state in one lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// All that is stored about one task.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its number.
    pub id: TaskId,
    /// The stored name of its handler.
    pub name: String,
    /// The version of its payload.
    pub version: u32,
    /// Its queue.
    pub queue: String,
    /// Its priority inside the queue; higher goes first.
    pub priority: i16,
    /// Where it stands.
    pub state: TaskState,
    /// Tries spent, plus one while it runs.
    pub attempt: u32,
    /// The number of its latest lease. It only grows.
    pub lease: u64,
    /// When it was stored.
    pub created: SystemTime,
    /// From when on it may run; for a task that ran, from when it might have.
    pub due: SystemTime,
    /// When its latest attempt began.
    pub started: Option<SystemTime>,
    /// When it ended.
    pub finished: Option<SystemTime>,
    /// From when on it is no longer worth starting.
    pub expires: Option<SystemTime>,
    /// Its arguments.
    pub payload: Body,
    /// What it returned, once completed.
    pub output: Option<Body>,
    /// Why the output could not be stored although the task completed.
    pub output_error: Option<String>,
    /// What was last said against it: the error of the latest attempt, the reason of a cancel.
    pub error: Option<String>,
    /// Its key, unique among the live tasks of its handler.
    pub key: Option<String>,
    /// The instant of the schedule that made it, if one did.
    pub tick: Option<SystemTime>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The node that holds it, while it runs.
    pub node: Option<Uuid>,
    /// A cancel was asked for and has not taken effect yet.
    pub cancel_asked: bool,
    /// How often a node died while this task ran.
    pub losses: u32,
    /// Every attempt that did not simply complete, oldest first, the last 20 of them. Listings leave it empty.
    pub attempts: Vec<AttemptInfo>,
}

/// One attempt that did not simply complete.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptInfo {
    /// Its lease number, which names this attempt among all of the task.
    pub lease: u64,
    /// Which try it was: 1, 2, …
    pub attempt: u32,
    /// The node that ran it.
    pub node: Uuid,
    /// The version of the program that ran it.
    pub binary: String,
    /// When it began.
    pub started: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// How it ended.
    pub end: AttemptEnd,
    /// What went wrong.
    pub error: Option<String>,
    /// The same for errors that differ in numbers only.
    pub fingerprint: Option<u64>,
}

/// How an attempt ended, where it did not simply complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttemptEnd {
    /// The handler returned an error.
    Failed,
    /// It took longer than its timeout.
    TimedOut,
    /// The handler panicked.
    Panicked,
    /// Someone, or the handler itself, cancelled the task.
    Cancelled,
    /// The handler asked to be called again later.
    Snoozed,
    /// The node shut down.
    Interrupted,
    /// The node died, or storage lost sight of it.
    Lost,
    /// The payload could not be read.
    Unreadable,
}

impl AttemptEnd {
    /// All of them, in the order of their stored numbers.
    pub const ALL: [Self; 8] = [
        Self::Failed,
        Self::TimedOut,
        Self::Panicked,
        Self::Cancelled,
        Self::Snoozed,
        Self::Interrupted,
        Self::Lost,
        Self::Unreadable,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_text_and_sorts_by_age() {
        let (a, b) = (TaskId::new(), TaskId::new());
        assert!(a < b);
        assert_eq!(a.to_string().parse(), Ok(a));
        let json = serde_json::to_string(&a).unwrap();
        assert_eq!(serde_json::from_str::<TaskId>(&json).unwrap(), a);
        assert!("nonsense".parse::<TaskId>().unwrap_err().to_string().contains("\"nonsense\""));
    }
}
