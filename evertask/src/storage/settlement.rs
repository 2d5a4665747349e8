//! The end of an attempt on its way into storage, and what became of it.

use std::{sync::Arc, time::Duration};

use super::{NewTask, NodeId};
use crate::{
    body::Body,
    failure::Failure,
    policy::Keep,
    task::{AttemptEnd, TaskId, TaskState},
    verdict::Verdict,
};

/// The end of an attempt.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settlement {
    /// The task.
    pub id: TaskId,
    /// The lease under which the attempt ran.
    pub lease: u64,
    /// What is to become of the task.
    pub verdict: Verdict,
    /// What it returned.
    pub output: Option<Body>,
    /// Why what it returned could not be kept.
    pub output_error: Option<String>,
    /// The attempt as it is to be written down; `None` for one that simply completed or never began.
    pub attempt: Option<AttemptRecord>,
    /// How long the task is kept, should this end it: completed, failed, cancelled.
    pub keep: KeepBy,
    /// How long ago the attempt began. A task that was not marked as begun is taken to have begun then, if it completed or the
    /// attempt is written down.
    pub ran: Duration,
    /// What else is to happen in the same commit if the task completes.
    pub effects: Vec<Effect>,
}

impl Settlement {
    /// A settlement with nothing but a verdict.
    #[must_use]
    pub fn new(id: TaskId, lease: u64, verdict: Verdict) -> Self {
        Self {
            id,
            lease,
            verdict,
            output: None,
            output_error: None,
            attempt: None,
            keep: KeepBy::default(),
            ran: Duration::ZERO,
            effects: Vec::new(),
        }
    }
}

/// How long a task is kept by the way it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepBy {
    /// If it completed.
    pub completed: Keep,
    /// If it failed.
    pub failed: Keep,
    /// If it was cancelled.
    pub cancelled: Keep,
}

impl Default for KeepBy {
    fn default() -> Self {
        Self { completed: Keep::Forever, failed: Keep::Forever, cancelled: Keep::Forever }
    }
}

/// One attempt to be written down.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    /// Who ran it.
    pub node: NodeId,
    /// The version of the program that ran it.
    pub binary: Arc<str>,
    /// How it ended.
    pub end: AttemptEnd,
    /// What went wrong.
    pub error: Option<String>,
    /// The same for errors that differ in numbers only.
    pub fingerprint: Option<u64>,
}

impl AttemptRecord {
    /// The record of an attempt that ended so.
    #[must_use]
    pub fn new(node: NodeId, binary: Arc<str>, end: AttemptEnd, failure: Option<&Failure>) -> Self {
        Self {
            node,
            binary,
            end,
            error: failure.map(|failure| failure.message.clone()),
            fingerprint: failure.map(Failure::fingerprint),
        }
    }
}

/// Something that commits together with a completion.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Effect {
    /// Another task is stored.
    Enqueue(Box<NewTask>),
}

/// What became of a settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settled {
    /// Stored, now or already before; the task is in this state. A cancel that won shows here.
    Applied(TaskState),
    /// There is no such task, and this settlement deletes what it ends. If it was sent before and the answer was lost, it was that
    /// which deleted the task, in this state. If it was not, it comes from a lease that was lost, and is as good as refused.
    Gone(TaskState),
    /// The lease was not the current one; nothing was changed.
    Refused,
    /// This item cannot be stored as it is; nothing was changed. The text says why.
    Unstorable(String),
}

impl Settled {
    /// What this means to those who had sent the settlement before, and had no answer.
    pub(crate) fn sent_before(self) -> Self {
        match self {
            Self::Gone(state) => Self::Applied(state),
            other => other,
        }
    }
}
