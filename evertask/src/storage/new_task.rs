//! A task on its way into storage, and what became of it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{body::Body, task::TaskId};

/// A task to be stored.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NewTask {
    /// Its id, made before the first try to store it.
    pub id: TaskId,
    /// The stored name of its handler.
    pub name: Arc<str>,
    /// The version of its payload.
    pub version: u32,
    /// Its queue.
    pub queue: Arc<str>,
    /// Higher goes first inside the queue.
    pub priority: i16,
    /// When it may run.
    pub due: Due,
    /// How long after it is stored it is no longer worth starting.
    pub expires: Option<Duration>,
    /// Unique among the live tasks of the same name.
    pub key: Option<String>,
    /// For finding it again.
    pub tags: BTreeMap<String, String>,
    /// The arguments.
    pub payload: Body,
    /// Attempts after the first, if this task has its own number.
    pub retries: Option<u32>,
    /// Its own timeout: `Some(None)` = none at all.
    pub timeout: Option<Option<Duration>>,
    /// The instant of the schedule that made it, to the microsecond.
    pub tick: Option<SystemTime>,
}

impl NewTask {
    /// A task due now, in the queue `default`, without options.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, payload: Body) -> Self {
        Self {
            id: TaskId::new(),
            name: name.into(),
            version: 1,
            queue: "default".into(),
            priority: 0,
            due: Due::Now,
            expires: None,
            key: None,
            tags: BTreeMap::new(),
            payload,
            retries: None,
            timeout: None,
            tick: None,
        }
    }
}

/// When a new task may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// At once.
    Now,
    /// This long after it is stored, by the storage's clock.
    After(Duration),
    /// From this instant on; one that has passed is now.
    At(SystemTime),
}

/// What became of a task that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enqueued {
    /// The id under which it is stored: its own, or that of the task which holds its key.
    pub id: TaskId,
    /// What happened.
    pub how: Dispatched,
}

/// What a dispatch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dispatched {
    /// A new task was stored.
    Created,
    /// A pending task with the same key took the new payload and options; it kept its id.
    Replaced,
    /// A task with the same key is running; it was left as it is, and nothing was stored.
    Existing,
}
