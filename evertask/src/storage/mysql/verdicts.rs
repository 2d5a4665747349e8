//! The writes of a settled batch: rows for one statement of each kind.

use super::{
    lane::LaneId,
    literal::{List, Rows, Table, Values},
    script::Script,
};
use crate::{
    bounds::ATTEMPTS_KEPT,
    storage::{
        AttemptRecord, Settlement,
        numbers::{end_number, state_number},
        rules::{self, Transition},
    },
    task::{TaskId, TaskState},
};

// Running → pending. The rows were locked, and state and lease looked at, in the same transaction: that is the fence.
pub(super) const BACK: &str = "UPDATE ? AS s STRAIGHT_JOIN {tasks} AS t FORCE INDEX (PRIMARY) ON t.id = s.id SET
    t.state = 0, t.lane = s.lane, t.line = s.lane, t.due_at = s.due_at, t.lapses_at = t.expires_at, t.spent = s.spent,
    t.unreadable = s.unreadable, t.losses = s.losses, t.lost_alone = s.lost_alone,
    t.started_at = COALESCE(s.started_at, t.started_at), t.error = COALESCE(s.error, t.error),
    t.node = NULL, t.claim = NULL, t.begun = 0, t.cancel_asked = 0";
pub(super) const BACK_ROWS: &str =
    "x'' AS id, 0 AS lane, 0 AS due_at, 0 AS spent, 0 AS unreadable, 0 AS losses, 0 AS lost_alone,
    0 AS started_at, x'' AS error";

// Running → completed, failed or cancelled. Fenced in the same way.
pub(super) const END: &str = "UPDATE ? AS s STRAIGHT_JOIN {tasks} AS t FORCE INDEX (PRIMARY) ON t.id = s.id SET
    t.state = s.state, t.unhappy = IF(s.state > 2, s.state, NULL), t.live_key = NULL, t.spent = s.spent,
    t.unreadable = s.unreadable, t.losses = s.losses, t.lost_alone = s.lost_alone,
    t.started_at = COALESCE(s.started_at, t.started_at), t.finished_at = @evertask_now, t.prune_at = s.prune_at,
    t.error = IF(s.state <> 2, COALESCE(s.error, t.error), NULL), t.output_codec = s.codec, t.output = s.output,
    t.output_error = s.output_error, t.node = NULL, t.claim = NULL, t.begun = 0, t.cancel_asked = 0";
pub(super) const END_ROWS: &str =
    "x'' AS id, 0 AS state, 0 AS spent, 0 AS unreadable, 0 AS losses, 0 AS lost_alone,
    0 AS started_at, 0 AS prune_at, x'' AS error, 0 AS codec, {body} AS output, x'' AS output_error";

const WRITE_DOWN: &str = "INSERT INTO {attempts} (id, lease, attempt, node, `binary`, started_at, ended_at, outcome, error,
    fingerprint) VALUES ? ON DUPLICATE KEY UPDATE attempt = attempt";

pub(super) const DROP_OLDEST: &str =
    "DELETE FROM {attempts} WHERE id = ? AND lease <= (SELECT lease FROM (
    SELECT lease FROM {attempts} WHERE id = ? ORDER BY lease DESC LIMIT 1 OFFSET ?) AS newest)";

/// Running → pending.
#[derive(Debug, Default)]
pub(super) struct Back(Rows);

impl Back {
    pub(super) fn push(
        &mut self,
        id: TaskId,
        lane: LaneId,
        due_at: i64,
        started_at: Option<i64>,
        to: &Transition,
    ) {
        let counts = &to.counters;
        self.0.push(&[
            &id,
            &lane,
            &due_at,
            &counts.spent,
            &counts.unreadable,
            &counts.losses,
            &counts.lost_alone,
            &started_at,
            &to.error,
        ]);
    }

    pub(super) fn write(&self, script: &mut Script, part: usize) {
        for rows in self.0.parts(part) {
            script.add(BACK, &[&Table(BACK_ROWS, rows)]);
        }
    }
}

/// Running → completed, failed or cancelled.
#[derive(Debug, Default)]
pub(super) struct Ends(Rows);

impl Ends {
    pub(super) fn push(
        &mut self,
        settlement: &Settlement,
        to: &Transition,
        started_at: Option<i64>,
        prune_at: Option<i64>,
    ) {
        let completes = to.state == TaskState::Completed;
        let output = settlement.output.as_ref().filter(|_| completes);
        let output_error = settlement.output_error.as_deref().filter(|_| completes);
        let counts = &to.counters;
        self.0.push(&[
            &settlement.id,
            &state_number(to.state),
            &counts.spent,
            &counts.unreadable,
            &counts.losses,
            &counts.lost_alone,
            &started_at,
            &prune_at,
            &to.error,
            &output.map(|output| output.codec),
            &output.map(|output| &*output.bytes),
            &output_error.map(rules::storable_error),
        ]);
    }

    pub(super) fn write(&self, script: &mut Script, part: usize) {
        for rows in self.0.parts(part) {
            script.add(END, &[&Table(END_ROWS, rows)]);
        }
    }
}

/// Attempts that are written down.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    rows: Rows,
    /// Tasks that may have more than are kept.
    many: Vec<TaskId>,
}

impl Attempts {
    pub(super) fn write_down(
        &mut self,
        id: TaskId,
        lease: u64,
        spent: u32,
        attempt: &AttemptRecord,
        began: i64,
        now: i64,
    ) {
        let AttemptRecord { node, binary, end, error, fingerprint } =
            rules::storable_attempt(attempt);
        let fingerprint = fingerprint.map(u64::cast_signed);
        self.rows.push(&[
            &id,
            &lease,
            &(i64::from(spent) + 1),
            &node,
            &&*binary,
            &began,
            &now,
            &end_number(end),
            &error,
            &fingerprint,
        ]);
        // Each attempt has a lease of its own, so before that many leases there cannot be too many.
        if lease > ATTEMPTS_KEPT as u64 {
            self.many.push(id);
        }
    }

    pub(super) fn write(&self, script: &mut Script, part: usize) {
        for rows in self.rows.parts(part) {
            script.add(WRITE_DOWN, &[&Values(rows)]);
        }
        for id in &self.many {
            script.add(DROP_OLDEST, &[id, id, &ATTEMPTS_KEPT]);
        }
    }
}

/// Tasks that are not kept.
#[derive(Debug, Default)]
pub(super) struct Gone(pub(super) Vec<TaskId>);

impl Gone {
    pub(super) fn write(&self, script: &mut Script) {
        if !self.0.is_empty() {
            for sql in super::outside::DELETE {
                script.add(sql, &[&List(&self.0)]);
            }
        }
    }
}
