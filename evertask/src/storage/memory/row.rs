//! One task as memory holds it.

use std::{sync::Arc, time::Duration};

use super::rare::{Rare, Rarely};
use crate::{
    body::Body,
    bounds::ATTEMPTS_KEPT,
    storage::{
        AttemptRecord, ClaimedTask, Ended, Lost, NewTask, NodeId,
        clock::{from_micros, to_micros},
        rules::{self, Counters},
    },
    task::{AttemptEnd, AttemptInfo, TaskId, TaskInfo, TaskState},
};

/// A stored task. Instants are in microseconds since 1970.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: TaskId,
    pub(super) name: Arc<str>,
    pub(super) version: u32,
    pub(super) queue: Arc<str>,
    pub(super) priority: i16,
    pub(super) state: TaskState,
    pub(super) counters: Counters,
    pub(super) lease: u64,
    pub(super) created: i64,
    pub(super) due: i64,
    pub(super) started: Option<i64>,
    pub(super) finished: Option<i64>,
    pub(super) prune_at: Option<i64>,
    pub(super) payload: Body,
    pub(super) output: Option<Body>,
    /// Who holds it, exactly while it runs.
    pub(super) hold: Option<Hold>,
    pub(super) rare: Rarely,
}

/// In whose hands a running task is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold {
    pub(super) node: NodeId,
    /// By which claim it came there; 0 if it was seized.
    pub(super) claim: u64,
    /// Its attempt has begun; of one that was seized, with the node that died.
    pub(super) begun: bool,
}

impl Row {
    pub(super) fn new(task: NewTask, now: i64) -> Self {
        Self {
            id: task.id,
            name: task.name,
            version: task.version,
            queue: task.queue,
            priority: task.priority,
            state: TaskState::Pending,
            counters: Counters::default(),
            lease: 0,
            created: now,
            due: rules::due_at(task.due, now),
            started: None,
            finished: None,
            prune_at: None,
            payload: task.payload,
            output: None,
            hold: None,
            rare: Rarely::of(Rare {
                key: task.key.map(Into::into),
                tags: task.tags,
                retries: task.retries,
                timeout: task.timeout,
                tick: task.tick.map(to_micros),
                expires: task.expires.map(|time| rules::after(now, time)),
                ..Rare::nothing()
            }),
        }
    }

    /// Pending → pending, as the new task says; what it went through stays, but counts no more.
    pub(super) fn replace(&mut self, task: NewTask, now: i64) {
        let (id, created, lease) = (self.id, self.created, self.lease);
        let (started, request) = (self.started, task.id);
        let attempts = self.rare.there().map(|rare| std::mem::take(&mut rare.attempts));
        *self = Self { id, created, lease, started, ..Self::new(task, now) };
        let rare = self.rare.place();
        rare.request = Some(request).filter(|request| *request != id);
        rare.attempts = attempts.unwrap_or_default();
    }

    /// Final → pending, as if it had never run; the lease keeps growing.
    pub(super) fn revive(&mut self, now: i64) {
        self.state = TaskState::Pending;
        self.due = now;
        self.counters = Counters::default();
        self.finished = None;
        self.prune_at = None;
        self.output = None;
        if let Some(rare) = self.rare.there() {
            (rare.expires, rare.error, rare.output_error) = (None, None, None);
        }
    }

    /// Pending → running, under a new lease.
    pub(super) fn hold(&mut self, hold: Hold, now: i64) {
        self.state = TaskState::Running;
        self.lease += 1;
        self.hold = Some(hold);
        if hold.begun {
            self.started = Some(now);
        }
    }

    /// Pending → running is undone, in whatever way.
    pub(super) fn release(&mut self, state: TaskState) {
        self.state = state;
        self.hold = None;
        if let Some(rare) = self.rare.there() {
            rare.cancel_asked = false;
        }
    }

    /// Adds to what is remembered of its attempts.
    pub(super) fn write_down(&mut self, attempt: &AttemptRecord, ran: Duration, now: i64) {
        let attempt = rules::storable_attempt(attempt);
        let (lease, number) = (self.lease, self.attempt());
        let attempts = &mut self.rare.place().attempts;
        if attempts.len() == ATTEMPTS_KEPT {
            attempts.pop_front();
        }
        attempts.push_back(AttemptInfo {
            lease,
            attempt: number,
            node: attempt.node,
            binary: attempt.binary.as_ref().into(),
            started: from_micros(rules::before(now, ran)),
            ended: from_micros(now),
            end: attempt.end,
            error: attempt.error,
            fingerprint: attempt.fingerprint,
        });
    }

    /// How the attempt under this lease ended, if that is written down.
    pub(super) fn written(&self, lease: u64) -> Option<AttemptEnd> {
        self.rare.attempts.iter().find(|attempt| attempt.lease == lease).map(|attempt| attempt.end)
    }

    pub(super) fn expired(&self, now: i64) -> bool {
        self.state == TaskState::Pending && self.rare.expires.is_some_and(|expires| expires <= now)
    }

    /// Tries spent, plus one while it runs.
    pub(super) fn attempt(&self) -> u32 {
        self.counters.spent.saturating_add((self.state == TaskState::Running).into())
    }

    pub(super) fn ended(&self) -> Ended {
        Ended {
            id: self.id,
            name: self.name.clone(),
            queue: self.queue.clone(),
            attempt: self.counters.spent,
        }
    }

    pub(super) fn claimed(&self, now: i64) -> ClaimedTask {
        ClaimedTask {
            id: self.id,
            lease: self.lease,
            name: self.name.clone(),
            version: self.version,
            queue: self.queue.clone(),
            priority: self.priority,
            attempt: self.attempt(),
            payload: self.payload.clone(),
            retries: self.rare.retries,
            timeout: self.rare.timeout,
            tick: self.rare.tick.map(from_micros),
            waited: rules::between(self.due, now),
            begun: self.hold.is_some_and(|hold| hold.begun),
            unreadable: self.counters.unreadable,
            losses: self.counters.losses,
            lost_alone: self.counters.lost_alone,
        }
    }

    /// What is told of it when its holder has died.
    pub(super) fn lost(&self, from: NodeId, alone: bool, now: i64) -> Lost {
        let started = self.hold.is_some_and(|hold| hold.begun);
        let ran = self.started.filter(|_| started).map(|at| rules::between(at, now));
        Lost {
            id: self.id,
            lease: self.lease,
            name: self.name.clone(),
            queue: self.queue.clone(),
            attempt: self.attempt(),
            node: from,
            started,
            ran: ran.unwrap_or_default(),
            alone,
            lost_alone: self.counters.lost_alone,
        }
    }

    pub(super) fn info(&self, with_attempts: bool) -> TaskInfo {
        TaskInfo {
            id: self.id,
            name: self.name.as_ref().into(),
            version: self.version,
            queue: self.queue.as_ref().into(),
            priority: self.priority,
            state: self.state,
            attempt: self.attempt(),
            lease: self.lease,
            created: from_micros(self.created),
            due: from_micros(self.due),
            started: self.started.map(from_micros),
            finished: self.finished.map(from_micros),
            expires: self.rare.expires.map(from_micros),
            payload: self.payload.clone(),
            output: self.output.clone(),
            output_error: self.rare.output_error.clone(),
            error: self.rare.error.clone(),
            key: self.rare.key.as_deref().map(str::to_owned),
            tags: self.rare.tags.clone(),
            tick: self.rare.tick.map(from_micros),
            node: self.hold.map(|hold| hold.node),
            cancel_asked: self.rare.cancel_asked,
            losses: self.counters.losses,
            attempts: match with_attempts {
                true => self.rare.attempts.iter().cloned().collect(),
                false => Vec::new(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_has_nothing_rare_is_small() {
        let size = size_of::<Row>();
        assert!(
            size <= 256,
            "{size} bytes, and its node in the tree has room for up to eleven of it"
        );
    }
}
