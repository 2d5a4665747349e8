//! Tasks as they are written: rows for one statement of each kind.

use super::{
    lane::LaneId,
    literal::{Instant, List, Rows, Table, Values},
    row::timeout_number,
    script::Script,
};
use crate::{
    storage::{
        Due, NewTask,
        clock::{duration_micros, to_micros},
    },
    task::TaskId,
};

// ∅ → pending.
pub(super) const INSERT: &str = "INSERT INTO {tasks} (id, lane, line, created_at, due_at, expires_at, lapses_at, codec, payload,
    retries, timeout, tick, `key`, live_key, request) VALUES ?";

// The same for tasks of which nothing more is said.
pub(super) const INSERT_SIMPLE: &str =
    "INSERT INTO {tasks} (id, lane, line, created_at, due_at, codec, payload) VALUES ?";

// The id is unique, so a dispatch that is repeated inserts nothing.
pub(super) const INSERT_ONCE: &str = "INSERT INTO {tasks} (id, lane, line, created_at, due_at, expires_at, lapses_at, codec, payload,
    retries, timeout, tick, `key`, live_key, request) VALUES ? ON DUPLICATE KEY UPDATE lease = lease";

// Pending → pending. The row is locked and has been looked at.
pub(super) const REPLACE: &str = "UPDATE ? AS s STRAIGHT_JOIN {tasks} AS t FORCE INDEX (PRIMARY) ON t.id = s.id SET
    t.lane = s.lane, t.line = s.lane, t.due_at = s.due_at, t.expires_at = s.expires_at, t.lapses_at = s.expires_at,
    t.codec = s.codec, t.payload = s.payload, t.retries = s.retries, t.timeout = s.timeout, t.tick = s.tick,
    t.request = s.request, t.spent = 0, t.unreadable = 0, t.losses = 0, t.lost_alone = 0, t.error = NULL";
pub(super) const REPLACED: &str =
    "x'' AS id, 0 AS lane, 0 AS due_at, 0 AS expires_at, 0 AS codec, {body} AS payload, 0 AS retries,
    0 AS timeout, 0 AS tick, x'' AS request";

const UNTAG: &str = "DELETE FROM {tags} WHERE id IN ?";

const TAG: &str = "INSERT INTO {tags} (id, `key`, value) VALUES ?";

fn instant(due: Due) -> Instant {
    match due {
        Due::Now => Instant::After(0),
        Due::After(delay) => Instant::After(duration_micros(delay)),
        Due::At(instant) => Instant::From(to_micros(instant)),
    }
}

fn expires(task: &NewTask) -> Option<Instant> {
    task.expires.map(|time| Instant::After(duration_micros(time)))
}

pub(super) fn push(
    rows: &mut Rows,
    id: TaskId,
    task: &NewTask,
    lane: LaneId,
    live_key: Option<&[u8]>,
) {
    let (timeout, tick) = (task.timeout.map(timeout_number), task.tick.map(to_micros));
    rows.push(&[
        &id,
        &lane,
        &lane,
        &Instant::After(0),
        &instant(task.due),
        &expires(task),
        &expires(task),
        &task.payload.codec,
        &&*task.payload.bytes,
        &task.retries,
        &timeout,
        &tick,
        &task.key.as_deref(),
        &live_key,
        &live_key.map(|_| task.id),
    ]);
}

/// Of this task nothing is said but what [`push_simple`] writes.
pub(super) fn is_simple(task: &NewTask) -> bool {
    let NewTask { expires, key, retries, timeout, tick, .. } = task;
    expires.is_none() && key.is_none() && retries.is_none() && timeout.is_none() && tick.is_none()
}

pub(super) fn push_simple(rows: &mut Rows, task: &NewTask, lane: LaneId) {
    let (now, due) = (Instant::After(0), instant(task.due));
    rows.push(&[&task.id, &lane, &lane, &now, &due, &task.payload.codec, &&*task.payload.bytes]);
}

/// What is to be written of tasks that were looked at.
#[derive(Default)]
pub(super) struct Writes {
    /// When what is written is due.
    pub(super) due: Vec<Due>,
    new: Rows,
    replaced: Rows,
    pub(super) untagged: Vec<TaskId>,
    tags: Rows,
}

impl Writes {
    pub(super) fn add(
        &mut self,
        id: TaskId,
        task: &NewTask,
        lane: LaneId,
        live_key: Option<&[u8]>,
    ) {
        push(&mut self.new, id, task, lane, live_key);
        self.due.push(task.due);
        self.tag(id, task);
    }

    pub(super) fn replace(&mut self, id: TaskId, task: &NewTask, lane: LaneId) {
        let (timeout, tick) = (task.timeout.map(timeout_number), task.tick.map(to_micros));
        self.replaced.push(&[
            &id,
            &lane,
            &instant(task.due),
            &expires(task),
            &task.payload.codec,
            &&*task.payload.bytes,
            &task.retries,
            &timeout,
            &tick,
            &task.id,
        ]);
        self.untagged.push(id);
        self.due.push(task.due);
        self.tag(id, task);
    }

    fn tag(&mut self, id: TaskId, task: &NewTask) {
        for (key, value) in &task.tags {
            self.tags.push(&[&id, key, value]);
        }
    }

    /// Adds what is new, by one statement or the other.
    pub(super) fn insert(&self, sql: &str, script: &mut Script, part: usize) {
        for rows in self.new.parts(part) {
            script.add(sql, &[&Values(rows)]);
        }
    }

    /// Adds all the rest.
    pub(super) fn replace_and_tag(&self, script: &mut Script, part: usize) {
        for rows in self.replaced.parts(part) {
            script.add(REPLACE, &[&Table(REPLACED, rows)]);
        }
        if !self.untagged.is_empty() {
            script.add(UNTAG, &[&List(&self.untagged)]);
        }
        for rows in self.tags.parts(part) {
            script.add(TAG, &[&Values(rows)]);
        }
    }
}
