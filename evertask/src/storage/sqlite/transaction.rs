//! What a transition sees of the transaction in which it runs with others.

use std::{cell::RefMut, time::Duration};

use rusqlite::{CachedStatement, Connection, Params};

use super::{
    held::Rows,
    hot::{Hot, HotStatements},
    lane::{Lane, LaneId, Lanes},
};
use crate::{
    policy::Keep,
    storage::{Bell, Ended, numbers::state_number, rules},
    task::{TaskId, TaskState},
};

/// A write transaction under way. Requests that run in it together see the same instant; those that join it later, a later one.
pub(super) struct Transaction<'w> {
    pub(super) conn: &'w Connection,
    pub(super) lanes: &'w mut Lanes,
    /// Where the rows of claimed tasks are.
    pub(super) rows: &'w mut Rows,
    hot: HotStatements<'w>,
    /// Microseconds since 1970.
    pub(super) now: i64,
    /// What is to be rung once it is committed.
    pub(super) rings: Rings,
    /// Only one request runs in it, since it failed together with others or alone: now every item of it is told apart.
    pub(super) alone: bool,
}

/// A task's number inside the database, its id, and the lane it is or was pending in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) seq: i64,
    pub(super) id: TaskId,
    pub(super) lane: LaneId,
}

// Pending → cancelled. Inside the one write transaction nobody else can have claimed it since it was read.
const END: &str = "UPDATE evertask_tasks SET state = ?2, error = ?3, finished_at = ?4, prune_at = ?5 WHERE seq = ?1";

impl<'w> Transaction<'w> {
    pub(super) fn new(
        conn: &'w Connection,
        lanes: &'w mut Lanes,
        rows: &'w mut Rows,
        now: i64,
        alone: bool,
    ) -> Self {
        Self {
            conn,
            lanes,
            rows,
            hot: HotStatements::new(conn),
            now,
            rings: Rings::default(),
            alone,
        }
    }

    /// A statement that is run for every task.
    pub(super) fn hot(&self, hot: Hot) -> rusqlite::Result<RefMut<'_, CachedStatement<'w>>> {
        self.hot.get(hot)
    }

    /// A statement that stays prepared.
    pub(super) fn prepare(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.conn.prepare_cached(sql)
    }

    /// Runs a statement that stays prepared, and says how many rows it changed.
    pub(super) fn execute(&self, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
        self.prepare(sql)?.execute(params)
    }

    pub(super) fn lane_number(&mut self, lane: Lane) -> rusqlite::Result<LaneId> {
        self.lanes.number(self.conn, lane)
    }

    /// A task is pending in this lane that was not before, or comes up there at another time.
    pub(super) fn pending(&mut self, lane: LaneId, due_at: i64) {
        self.lanes.added(lane, due_at);
        self.rings.work(rules::between(self.now, due_at));
    }

    /// Pending → cancelled, for this reason.
    pub(super) fn cancel_pending(
        &mut self,
        place: Place,
        reason: &str,
        keep: Keep,
    ) -> rusqlite::Result<()> {
        self.lanes.forget(place.lane);
        self.rings.ended.push(place.id);
        if keep == Keep::No {
            return self.delete(place);
        }
        let prune_at = rules::prune_at(keep, self.now);
        let state = state_number(TaskState::Cancelled);
        self.execute(END, (place.seq, state, reason, self.now, prune_at)).map(drop)
    }

    /// How an expired task is reported.
    pub(super) fn ended(&self, place: Place, spent: u32) -> Ended {
        let (name, queue) = match self.lanes.get(place.lane) {
            Some(lane) => (lane.name.clone(), lane.queue.clone()),
            None => ("".into(), "".into()),
        };
        Ended { id: place.id, name, queue, attempt: spent }
    }

    /// Any state → ∅, with all that belongs to it.
    pub(super) fn delete(&mut self, place: Place) -> rusqlite::Result<()> {
        let id = place.id.as_uuid().as_bytes();
        self.execute("DELETE FROM evertask_tasks WHERE seq = ?1", [place.seq])?;
        self.execute("DELETE FROM evertask_payloads WHERE seq = ?1", [place.seq])?;
        self.execute("DELETE FROM evertask_tags WHERE id = ?1", [id])?;
        self.execute("DELETE FROM evertask_attempts WHERE id = ?1", [id])?;
        Ok(())
    }
}

/// What is to be told after a commit.
#[derive(Debug, Default)]
pub(super) struct Rings {
    /// Something is due now.
    due: bool,
    /// The soonest of what will be due.
    soonest: Option<Duration>,
    pub(super) orders: bool,
    pub(super) peers: bool,
    pub(super) schedules: bool,
    /// Another process has written since this one did last.
    pub(super) others: bool,
    pub(super) ended: Vec<TaskId>,
}

impl Rings {
    pub(super) fn work(&mut self, due_in: Duration) {
        if due_in.is_zero() {
            self.due = true;
        } else {
            self.soonest = Some(self.soonest.map_or(due_in, |soonest| soonest.min(due_in)));
        }
    }

    /// What was asked for had been done before, and perhaps not been told, as its answer was not: all look.
    pub(super) fn again(&mut self) {
        self.work(Duration::ZERO);
    }

    pub(super) fn ring(self, bell: &Bell) {
        if self.others {
            bell.all();
        }
        if self.due {
            bell.work(Duration::ZERO);
        }
        if let Some(due_in) = self.soonest {
            bell.work(due_in);
        }
        if self.orders {
            bell.orders();
        }
        if self.peers {
            bell.peers();
        }
        if self.schedules {
            bell.schedules();
        }
        bell.ended(self.ended);
    }
}
