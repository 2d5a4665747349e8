//! The writes of a settled batch turned on their side: one array for each column.

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{columns::Value, connection::Sql, lane::LaneId};
use crate::{
    bounds::ATTEMPTS_KEPT,
    storage::{
        AttemptRecord, Settlement,
        numbers::{end_number, state_number},
        rules::{self, Counters, Transition},
    },
    task::{TaskId, TaskState},
};

/// What is counted about tasks.
#[derive(Default)]
struct Counts {
    spent: Vec<i64>,
    unreadable: Vec<i64>,
    losses: Vec<i64>,
    lost_alone: Vec<i64>,
}

impl Counts {
    fn push(&mut self, counters: &Counters) {
        self.spent.push(counters.spent.into());
        self.unreadable.push(counters.unreadable.into());
        self.losses.push(counters.losses.into());
        self.lost_alone.push(counters.lost_alone.into());
    }
}

/// Running → pending.
#[derive(Default)]
pub(super) struct Back {
    id: Vec<Uuid>,
    lane: Vec<LaneId>,
    due_at: Vec<i64>,
    counts: Counts,
    started_at: Vec<Option<i64>>,
    error: Vec<Option<String>>,
}

impl Back {
    // The rows were locked, and state and lease looked at, in the same transaction: that is the fence.
    pub(super) const SQL: Sql = Sql {
        text: "UPDATE tasks AS t SET state = 0, lane = s.lane, due_at = s.due_at, spent = s.spent, unreadable = s.unreadable,
                losses = s.losses, lost_alone = s.lost_alone, started_at = coalesce(s.started_at, t.started_at),
                error = coalesce(s.error, t.error), node = NULL, claim = NULL, begun = false, cancel_asked = false
            FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)
                AS s (id, lane, due_at, spent, unreadable, losses, lost_alone, started_at, error)
            WHERE t.id = s.id",
        types: &[
            Type::UUID_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::TEXT_ARRAY,
        ],
    };

    pub(super) fn push(
        &mut self,
        id: TaskId,
        lane: LaneId,
        due_at: i64,
        started_at: Option<i64>,
        to: &Transition,
    ) {
        self.id.push(*id.as_uuid());
        self.lane.push(lane);
        self.due_at.push(due_at);
        self.counts.push(&to.counters);
        self.started_at.push(started_at);
        self.error.push(to.error.clone());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.id.is_empty()
    }

    pub(super) fn params(&self) -> [Value<'_>; 9] {
        let Self { id, lane, due_at, counts, started_at, error } = self;
        let Counts { spent, unreadable, losses, lost_alone } = counts;
        [id, lane, due_at, spent, unreadable, losses, lost_alone, started_at, error]
    }
}

/// Running → completed, failed or cancelled.
#[derive(Default)]
pub(super) struct Ends<'s> {
    id: Vec<Uuid>,
    state: Vec<i16>,
    counts: Counts,
    started_at: Vec<Option<i64>>,
    finished_at: Vec<i64>,
    prune_at: Vec<Option<i64>>,
    error: Vec<Option<String>>,
    codec: Vec<Option<i32>>,
    output: Vec<Option<&'s [u8]>>,
    output_error: Vec<Option<String>>,
}

impl<'s> Ends<'s> {
    // Fenced in the same way.
    pub(super) const SQL: Sql = Sql {
        text: "UPDATE tasks AS t SET state = s.state, spent = s.spent, unreadable = s.unreadable, losses = s.losses,
                lost_alone = s.lost_alone, started_at = coalesce(s.started_at, t.started_at), finished_at = s.finished_at,
                prune_at = s.prune_at, error = CASE WHEN s.state <> 2 THEN coalesce(s.error, t.error) END,
                output_codec = s.codec, output = s.output, output_error = s.output_error,
                node = NULL, claim = NULL, begun = false, cancel_asked = false
            FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
                AS s (id, state, spent, unreadable, losses, lost_alone, started_at, finished_at, prune_at, error, codec,
                    output, output_error)
            WHERE t.id = s.id",
        types: &[
            Type::UUID_ARRAY,
            Type::INT2_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::TEXT_ARRAY,
            Type::INT4_ARRAY,
            Type::BYTEA_ARRAY,
            Type::TEXT_ARRAY,
        ],
    };

    pub(super) fn push(
        &mut self,
        settlement: &'s Settlement,
        to: &Transition,
        started_at: Option<i64>,
        now: i64,
        prune_at: Option<i64>,
    ) {
        let completes = to.state == TaskState::Completed;
        let output = settlement.output.as_ref().filter(|_| completes);
        let output_error = settlement.output_error.as_deref().filter(|_| completes);
        self.id.push(*settlement.id.as_uuid());
        self.state.push(state_number(to.state).into());
        self.counts.push(&to.counters);
        self.started_at.push(started_at);
        self.finished_at.push(now);
        self.prune_at.push(prune_at);
        self.error.push(to.error.clone());
        self.codec.push(output.map(|output| output.codec.into()));
        self.output.push(output.map(|output| &*output.bytes));
        self.output_error.push(output_error.map(rules::storable_error));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.id.is_empty()
    }

    pub(super) fn params(&self) -> [Value<'_>; 13] {
        let Self { id, state, counts, started_at, finished_at, prune_at, error, .. } = self;
        let Self { codec, output, output_error, .. } = self;
        let Counts { spent, unreadable, losses, lost_alone } = counts;
        [
            id,
            state,
            spent,
            unreadable,
            losses,
            lost_alone,
            started_at,
            finished_at,
            prune_at,
            error,
            codec,
            output,
            output_error,
        ]
    }
}

/// Attempts that are written down.
#[derive(Default)]
pub(super) struct Attempts {
    id: Vec<Uuid>,
    lease: Vec<i64>,
    attempt: Vec<i64>,
    node: Vec<Uuid>,
    binary: Vec<String>,
    started_at: Vec<i64>,
    ended_at: Vec<i64>,
    outcome: Vec<i16>,
    error: Vec<Option<String>>,
    fingerprint: Vec<Option<i64>>,
    /// Tasks that may have more than are kept.
    many: Vec<Uuid>,
    kept: i64,
}

impl Attempts {
    pub(super) const SQL: Sql = Sql {
        text: r#"INSERT INTO attempts (id, lease, attempt, node, "binary", started_at, ended_at, outcome, error, fingerprint)
            SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING"#,
        types: &[
            Type::UUID_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::UUID_ARRAY,
            Type::TEXT_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::INT2_ARRAY,
            Type::TEXT_ARRAY,
            Type::INT8_ARRAY,
        ],
    };

    pub(super) const DROP_OLDEST: Sql = Sql {
        text: "DELETE FROM attempts AS a USING unnest($1) AS s (id) WHERE a.id = s.id AND a.lease <=
            (SELECT b.lease FROM attempts AS b WHERE b.id = s.id ORDER BY b.lease DESC LIMIT 1 OFFSET $2)",
        types: &[Type::UUID_ARRAY, Type::INT8],
    };

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
        self.id.push(*id.as_uuid());
        self.lease.push(lease.cast_signed());
        self.attempt.push(i64::from(spent) + 1);
        self.node.push(node);
        self.binary.push(String::from(&*binary));
        self.started_at.push(began);
        self.ended_at.push(now);
        self.outcome.push(end_number(end).into());
        self.error.push(error);
        self.fingerprint.push(fingerprint.map(u64::cast_signed));
        self.kept = i64::try_from(ATTEMPTS_KEPT).unwrap_or(i64::MAX);
        // Each attempt has a lease of its own, so before that many leases there cannot be too many.
        if lease > ATTEMPTS_KEPT as u64 {
            self.many.push(*id.as_uuid());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.id.is_empty()
    }

    pub(super) fn has_no_old(&self) -> bool {
        self.many.is_empty()
    }

    pub(super) fn params(&self) -> [Value<'_>; 10] {
        let Self { id, lease, attempt, node, binary, started_at, ended_at, .. } = self;
        let Self { outcome, error, fingerprint, .. } = self;
        [id, lease, attempt, node, binary, started_at, ended_at, outcome, error, fingerprint]
    }

    pub(super) fn old(&self) -> [Value<'_>; 2] {
        [&self.many, &self.kept]
    }
}
