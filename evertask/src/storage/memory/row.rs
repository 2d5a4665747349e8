//! One task as memory holds it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

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
    /// The id of the dispatch that was stored last: another one than `id` once the task was replaced.
    pub(super) request: TaskId,
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
    pub(super) expires: Option<i64>,
    pub(super) prune_at: Option<i64>,
    pub(super) payload: Body,
    pub(super) output: Option<Body>,
    pub(super) output_error: Option<String>,
    pub(super) error: Option<String>,
    pub(super) key: Option<Arc<str>>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) retries: Option<u32>,
    pub(super) timeout: Option<Option<Duration>>,
    pub(super) tick: Option<i64>,
    /// Who holds it, exactly while it runs.
    pub(super) hold: Option<Hold>,
    pub(super) cancel_asked: bool,
    pub(super) attempts: VecDeque<AttemptInfo>,
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
            request: task.id,
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
            expires: task.expires.map(|time| rules::after(now, time)),
            prune_at: None,
            payload: task.payload,
            output: None,
            output_error: None,
            error: None,
            key: task.key.map(Into::into),
            tags: task.tags,
            retries: task.retries,
            timeout: task.timeout,
            tick: task.tick.map(to_micros),
            hold: None,
            cancel_asked: false,
            attempts: VecDeque::new(),
        }
    }

    /// Pending → pending, as the new task says; what it went through stays, but counts no more.
    pub(super) fn replace(&mut self, task: NewTask, now: i64) {
        let (id, created, lease) = (self.id, self.created, self.lease);
        let started = self.started;
        let attempts = std::mem::take(&mut self.attempts);
        *self = Self { id, created, lease, started, attempts, ..Self::new(task, now) };
    }

    /// Final → pending, as if it had never run; the lease keeps growing.
    pub(super) fn revive(&mut self, now: i64) {
        self.state = TaskState::Pending;
        self.due = now;
        self.counters = Counters::default();
        self.finished = None;
        self.expires = None;
        self.prune_at = None;
        self.output = None;
        self.output_error = None;
        self.error = None;
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
        self.cancel_asked = false;
    }

    /// Adds to what is remembered of its attempts.
    pub(super) fn write_down(&mut self, attempt: &AttemptRecord, ran: Duration, now: i64) {
        let attempt = rules::storable_attempt(attempt);
        if self.attempts.len() == ATTEMPTS_KEPT {
            self.attempts.pop_front();
        }
        self.attempts.push_back(AttemptInfo {
            lease: self.lease,
            attempt: self.attempt(),
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
        self.attempts.iter().find(|attempt| attempt.lease == lease).map(|attempt| attempt.end)
    }

    pub(super) fn expired(&self, now: i64) -> bool {
        self.state == TaskState::Pending && self.expires.is_some_and(|expires| expires <= now)
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
            retries: self.retries,
            timeout: self.timeout,
            tick: self.tick.map(from_micros),
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
            expires: self.expires.map(from_micros),
            payload: self.payload.clone(),
            output: self.output.clone(),
            output_error: self.output_error.clone(),
            error: self.error.clone(),
            key: self.key.as_deref().map(str::to_owned),
            tags: self.tags.clone(),
            tick: self.tick.map(from_micros),
            node: self.hold.map(|hold| hold.node),
            cancel_asked: self.cancel_asked,
            losses: self.counters.losses,
            attempts: match with_attempts {
                true => self.attempts.iter().cloned().collect(),
                false => Vec::new(),
            },
        }
    }
}
