//! Schedules as they are stored: rules that make tasks, changed by compare-and-set together with the tasks that come of it.
//!
//! A storage knows no rule. What stands in [`ScheduleRow::body`] is read and decided on elsewhere
//! ([`crate::runtime`] and `crate::schedule`); here count only when a schedule comes up next and which revision it is.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use uuid::Uuid;

use super::{Enqueued, NewTask};
use crate::{
    body::Body,
    task::{TaskId, TaskState},
};

/// What is stored of a schedule. Its name and its key together are its identity.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleRow {
    /// The stored name of the handler whose tasks it makes.
    pub name: Arc<str>,
    /// What tells it apart from others of that handler.
    pub key: Arc<str>,
    /// When it comes up next, to the microsecond; `None` for one that makes no tasks by itself: paused, at its end, or broken.
    pub next: Option<SystemTime>,
    /// The format of [`body`](Self::body). Programs that know only older ones leave the schedule to others.
    pub format: u32,
    /// The task it made last.
    pub last: Option<TaskId>,
    /// All else, which no storage looks into.
    pub body: Body,
}

impl ScheduleRow {
    /// A schedule that never comes up by itself.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, key: impl Into<Arc<str>>, body: Body) -> Self {
        Self { name: name.into(), key: key.into(), next: None, format: 1, last: None, body }
    }
}

/// A schedule as it was read.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StoredSchedule {
    /// What is stored of it.
    pub row: ScheduleRow,
    /// Which change wrote it.
    pub revision: Uuid,
    /// Where the task stands that it made last; `None` if there is none (any more).
    pub last_state: Option<TaskState>,
}

impl StoredSchedule {
    /// A schedule that was read so.
    #[must_use]
    pub fn new(row: ScheduleRow, revision: Uuid, last_state: Option<TaskState>) -> Self {
        Self { row, revision, last_state }
    }
}

/// One change of one schedule: of what it has been to what it is to be, with the tasks that come of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ScheduleChange {
    /// The stored name of its handler.
    pub name: Arc<str>,
    /// Its key.
    pub key: Arc<str>,
    /// The revision it has to be at; `None`: it must not be stored yet.
    pub from: Option<Uuid>,
    /// The revision it will be at: new with each change, and the same when one is repeated.
    pub revision: Uuid,
    /// What is stored of it then; `None`: nothing, it is removed.
    pub to: Option<ScheduleRow>,
    /// Tasks that are stored in the same commit.
    pub tasks: Vec<NewTask>,
}

impl ScheduleChange {
    /// ∅ → this schedule, or, with the revision at which it was read, what it was → this.
    #[must_use]
    pub fn to(from: Option<Uuid>, row: ScheduleRow) -> Self {
        Self {
            name: row.name.clone(),
            key: row.key.clone(),
            from,
            revision: Uuid::now_v7(),
            to: Some(row),
            tasks: Vec::new(),
        }
    }

    /// This schedule → ∅.
    #[must_use]
    pub fn remove(was: &StoredSchedule) -> Self {
        Self {
            name: was.row.name.clone(),
            key: was.row.key.clone(),
            from: Some(was.revision),
            revision: Uuid::now_v7(),
            to: None,
            tasks: Vec::new(),
        }
    }

    /// With tasks that come of it.
    #[must_use]
    pub fn with_tasks(mut self, tasks: Vec<NewTask>) -> Self {
        self.tasks = tasks;
        self
    }
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScheduleChanged {
    /// It is stored, now or already before, and so are its tasks.
    Done(Vec<Enqueued>),
    /// The schedule is at another revision, or there is none, or one where none should be. Nothing was changed.
    Stale,
}

/// Schedules that have come up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DueSchedules {
    /// What the storage's clock says.
    pub now: SystemTime,
    /// Those that have come up, the longest first.
    pub due: Vec<StoredSchedule>,
    /// How long until the next one comes up that is not among them: nothing, if the limit left some over.
    pub next_in: Option<Duration>,
}

impl DueSchedules {
    /// Nothing has come up, nor will.
    #[must_use]
    pub fn none(now: SystemTime) -> Self {
        Self { now, due: Vec::new(), next_in: None }
    }
}

/// Which part of the schedules, in the order of name and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulePage {
    /// Of this handler only.
    pub name: Option<String>,
    /// Only those behind this name and key: the last of the page before.
    pub after: Option<(String, String)>,
    /// At most so many, 1 to [`PAGE_MAX`](crate::bounds::PAGE_MAX).
    pub limit: usize,
}

impl Default for SchedulePage {
    fn default() -> Self {
        Self { name: None, after: None, limit: 50 }
    }
}
