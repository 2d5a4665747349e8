//! A wish for tasks, and what it got.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Known, NodeId};
use crate::{body::Body, policy::Keep, task::TaskId};

/// A wish for tasks.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Claim {
    /// The number of this wish among all of the node; the same number again returns the same tasks.
    pub id: u64,
    /// Who asks.
    pub node: NodeId,
    /// What it can run.
    pub handlers: Arc<[Known]>,
    /// Where it has room, in the order in which it wants to be served.
    pub queues: Vec<Room>,
    /// Room on the node as a whole for tasks that begin at once.
    pub slots: usize,
    /// Ask for one suspect and nothing else.
    pub suspect: bool,
    /// How long a task is kept that turns out to be expired.
    pub keep_expired: Keep,
}

impl Claim {
    /// A claim for up to `slots` tasks of these handlers, without queues yet.
    #[must_use]
    pub fn new(id: u64, node: NodeId, handlers: Arc<[Known]>, slots: usize) -> Self {
        Self {
            id,
            node,
            handlers,
            queues: Vec::new(),
            slots,
            suspect: false,
            keep_expired: Keep::Forever,
        }
    }

    /// Adds a queue with room for `slots` tasks that begin at once and `ahead` more that wait for their turn.
    #[must_use]
    pub fn queue(mut self, name: impl Into<Arc<str>>, slots: usize, ahead: usize) -> Self {
        self.queues.push(Room { queue: name.into(), slots, ahead });
        self
    }
}

/// Room for tasks of one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// The queue.
    pub queue: Arc<str>,
    /// How many may begin at once.
    pub slots: usize,
    /// How many more may be held ready. They count as not begun until said otherwise.
    pub ahead: usize,
}

/// What a claim got.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Claimed {
    /// The tasks, now held by the node: those that begin at once first.
    pub tasks: Vec<ClaimedTask>,
    /// Tasks that had expired and are now cancelled.
    pub expired: Vec<Ended>,
    /// More tasks of these handlers and queues are due than there was room for, suspects apart.
    pub more: bool,
    /// A suspect of these handlers and queues is due, and was not taken.
    pub suspect_due: bool,
    /// How long until the next task of these handlers and queues becomes due, if one is stored; `None` if there are
    /// [`more`](Self::more) already.
    pub next_due: Option<Duration>,
}

/// A task that ended without an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The task.
    pub id: TaskId,
    /// The name of its handler.
    pub name: Arc<str>,
    /// Its queue.
    pub queue: Arc<str>,
    /// Tries spent.
    pub attempt: u32,
}

/// A task in the hands of a node.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClaimedTask {
    /// The task.
    pub id: TaskId,
    /// The right to run it: goes with every later write.
    pub lease: u64,
    /// The stored name, possibly an alias.
    pub name: Arc<str>,
    /// The version of the payload.
    pub version: u32,
    /// Its queue.
    pub queue: Arc<str>,
    /// Its priority.
    pub priority: i16,
    /// Which try this is: 1, 2, …
    pub attempt: u32,
    /// The arguments.
    pub payload: Body,
    /// Its own number of retries.
    pub retries: Option<u32>,
    /// Its own timeout: `Some(None)` = none at all.
    pub timeout: Option<Option<Duration>>,
    /// The instant of the schedule that made it.
    pub tick: Option<SystemTime>,
    /// How long after it was due it was claimed.
    pub waited: Duration,
    /// It is marked as begun; otherwise it was taken ahead.
    pub begun: bool,
    /// How often its payload could not be read.
    pub unreadable: u32,
    /// How often a node died while it ran.
    pub losses: u32,
    /// How often it was lost as a suspect, alone.
    pub lost_alone: u32,
}
