//! What happens to tasks from outside of an attempt: cancel, revive, prune.

use rusqlite::{OptionalExtension, Row, params};

use super::{
    enqueue::holder,
    lane::Lane,
    row::{state, task_id},
    transaction::{Place, Transaction},
};
use crate::{
    policy::Keep,
    storage::{Cancel, Pruned, Revive, rules},
    task::{TaskId, TaskState},
};

/// How many tasks one round of pruning deletes at most.
const PRUNE_MAX: usize = 10_000;

const FIND: &str = "SELECT seq, id, lane, state, key_name, key FROM evertask_tasks WHERE id = ?1";

// Running → running. Its node learns it by renewing; whatever it settles from now on ends as cancelled.
const ASK: &str = "UPDATE evertask_tasks SET cancel_asked = 1 WHERE seq = ?1";

// Final → pending. The lease stays, so that it keeps growing.
const REVIVE: &str = "UPDATE evertask_tasks
     SET state = 0, lane = ?2, due_at = ?3, spent = 0, unreadable = 0, losses = 0, lost_alone = 0,
         finished_at = NULL, expires_at = NULL, prune_at = NULL, error = NULL,
         output_codec = NULL, output = NULL, output_error = NULL
     WHERE seq = ?1";

// Pending → pending, due now at the latest.
const HASTEN: &str =
    "UPDATE evertask_tasks SET due_at = min(due_at, ?2) WHERE seq = ?1 RETURNING due_at";

// Ended tasks whose time is over. Live ones have no such time.
pub(super) const OUT_OF_TIME: &str =
    "SELECT seq, id, lane FROM evertask_tasks INDEXED BY evertask_ended
     WHERE prune_at IS NOT NULL AND prune_at <= ?1 ORDER BY prune_at LIMIT ?2";

pub(super) const EXPIRED: &str =
    "SELECT seq, id, lane, spent FROM evertask_tasks INDEXED BY evertask_expiring
     WHERE state = 0 AND expires_at IS NOT NULL AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2";

pub(super) const NEXT_OUT_OF_TIME: &str =
    "SELECT min(prune_at) FROM evertask_tasks INDEXED BY evertask_ended WHERE prune_at IS NOT NULL";

pub(super) const NEXT_EXPIRED: &str =
    "SELECT min(expires_at) FROM evertask_tasks INDEXED BY evertask_expiring
     WHERE state = 0 AND expires_at IS NOT NULL";

pub(super) fn cancel(tx: &mut Transaction<'_>, id: TaskId, keep: Keep) -> rusqlite::Result<Cancel> {
    let Some(task) = find(tx, id)? else { return Ok(Cancel::Unknown) };
    match task.state {
        TaskState::Pending => {
            tx.cancel_pending(task.place, rules::CANCELLED, keep)?;
            Ok(Cancel::Done)
        }
        TaskState::Running => {
            tx.execute(ASK, [task.place.seq])?;
            tx.rings.orders = true;
            Ok(Cancel::Asked)
        }
        ended => Ok(Cancel::TooLate(ended)),
    }
}

pub(super) fn revive(tx: &mut Transaction<'_>, id: TaskId) -> rusqlite::Result<Revive> {
    let Some(task) = find(tx, id)? else { return Ok(Revive::Unknown) };
    let Place { seq, lane, .. } = task.place;
    match task.state {
        TaskState::Running => Ok(Revive::Running),
        TaskState::Pending => {
            let due_at = tx.prepare(HASTEN)?.query_row([seq, tx.now], |row| row.get(0))?;
            tx.pending(lane, due_at);
            Ok(Revive::Hastened)
        }
        TaskState::Completed | TaskState::Failed | TaskState::Cancelled => {
            if let Some((name, key)) = &task.key
                && let Some((holder, _)) = holder(tx, name, key)?
            {
                return Ok(Revive::KeyTaken(holder.id));
            }
            // Its losses are forgotten, so it is a suspect no more.
            let lane = match tx.lanes.get(lane).cloned() {
                Some(was) if was.suspect => {
                    tx.lane_number(Lane { suspect: false, ..Lane::clone(&was) })?
                }
                _ => lane,
            };
            tx.execute(REVIVE, [seq, lane, tx.now])?;
            tx.pending(lane, tx.now);
            Ok(Revive::Revived)
        }
    }
}

pub(super) fn prune(tx: &mut Transaction<'_>, limit: usize) -> rusqlite::Result<Pruned> {
    let limit = i64::try_from(limit.min(PRUNE_MAX)).unwrap_or(i64::MAX);
    let deleted = places(tx, OUT_OF_TIME, limit, place)?;
    let expired = places(tx, EXPIRED, limit, |row| Ok((place(row)?, row.get::<_, u32>(3)?)))?;
    let mut pruned = Pruned { deleted: deleted.len(), ..Pruned::default() };
    for place in deleted {
        tx.delete(place)?;
    }
    for (place, spent) in expired {
        pruned.expired.push(tx.ended(place, spent));
        tx.cancel_pending(place, rules::EXPIRED, rules::KEEP_EXPIRED)?;
    }
    let first = |sql| tx.prepare(sql)?.query_row([], |row| row.get::<_, Option<i64>>(0));
    let next = [first(NEXT_OUT_OF_TIME)?, first(NEXT_EXPIRED)?].into_iter().flatten().min();
    pruned.next = next.map(|at| rules::between(tx.now, at));
    Ok(pruned)
}

fn places<T>(
    tx: &Transaction<'_>,
    sql: &str,
    limit: i64,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    tx.prepare(sql)?.query_map([tx.now, limit], read)?.collect()
}

fn place(row: &Row<'_>) -> rusqlite::Result<Place> {
    Ok(Place { seq: row.get(0)?, id: task_id(row, 1)?, lane: row.get(2)? })
}

/// A task as far as it matters here.
struct Task {
    place: Place,
    state: TaskState,
    /// The handler's name and the key.
    key: Option<(String, String)>,
}

fn find(tx: &Transaction<'_>, id: TaskId) -> rusqlite::Result<Option<Task>> {
    let task = |row: &Row<'_>| {
        let key = row.get::<_, Option<_>>(4)?.zip(row.get(5)?);
        Ok(Task { place: place(row)?, state: state(row, 3)?, key })
    };
    tx.prepare(FIND)?.query_row(params![id.as_uuid().as_bytes()], task).optional()
}
