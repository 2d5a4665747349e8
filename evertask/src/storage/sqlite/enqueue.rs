//! ∅ → pending, and what a key makes of it.

use rusqlite::{OptionalExtension, Statement, params};

use super::{
    hot::Hot,
    lane::Lane,
    row::{self, task_id},
    transaction::{Place, Transaction},
};
use crate::{
    storage::{Dispatched, Enqueued, NewTask, clock::to_micros, rules},
    task::TaskId,
};

// The id is unique, so a dispatch that is repeated inserts nothing.
pub(super) const INSERT: &str =
    "INSERT INTO evertask_tasks (id, lane, created_at, due_at, expires_at, key_name, key)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO NOTHING";

pub(super) const INSERT_PAYLOAD: &str = "INSERT INTO evertask_payloads (seq, codec, bytes, retries, timeout, tick) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const INSERT_TAG: &str = "INSERT INTO evertask_tags (id, key, value) VALUES (?1, ?2, ?3)";

const STORED: &str = "SELECT 1 FROM evertask_tasks WHERE id = ?1";

// Finished tasks included: the reply to a replacing dispatch may have been lost and the task have run since.
pub(super) const REPLACED: &str =
    "SELECT id FROM evertask_tasks INDEXED BY evertask_requests WHERE request = ?1";

// The one live task that holds a key.
pub(super) const HOLDER: &str =
    "SELECT seq, id, lane, state FROM evertask_tasks INDEXED BY evertask_live_keys
     WHERE key_name = ?1 AND key = ?2 AND key IS NOT NULL AND state < 2";

// Pending → pending. The holder was read in the same write transaction, so nobody can have claimed it.
const REPLACE: &str = "UPDATE evertask_tasks
     SET lane = ?2, due_at = ?3, expires_at = ?4, request = ?5, spent = 0, unreadable = 0, losses = 0, lost_alone = 0, error = NULL
     WHERE seq = ?1";

const REPLACE_PAYLOAD: &str = "UPDATE evertask_payloads SET codec = ?2, bytes = ?3, retries = ?4, timeout = ?5, tick = ?6 WHERE seq = ?1";

/// Stores tasks that have been checked.
pub(super) fn enqueue(
    tx: &mut Transaction<'_>,
    tasks: &[NewTask],
) -> rusqlite::Result<Vec<Enqueued>> {
    tasks.iter().map(|task| enqueue_one(tx, task)).collect()
}

/// Stores one task that has been checked.
pub(super) fn enqueue_one(tx: &mut Transaction<'_>, task: &NewTask) -> rusqlite::Result<Enqueued> {
    if let Some(key) = &task.key {
        let id = task.id.as_uuid().as_bytes();
        if tx.prepare(STORED)?.exists([id])? {
            tx.rings.again();
            return Ok(Enqueued { id: task.id, how: Dispatched::Created });
        }
        let replaced = tx.prepare(REPLACED)?.query_row([id], |row| task_id(row, 0)).optional()?;
        if let Some(id) = replaced {
            tx.rings.again();
            return Ok(Enqueued { id, how: Dispatched::Replaced });
        }
        if let Some((place, pending)) = holder(tx, &task.name, key)? {
            let how = if pending { Dispatched::Replaced } else { Dispatched::Existing };
            if pending {
                replace(tx, place, task)?;
            }
            return Ok(Enqueued { id: place.id, how });
        }
    }
    insert(tx, task)?;
    Ok(Enqueued { id: task.id, how: Dispatched::Created })
}

/// The live task that holds this key, and whether it is pending.
pub(super) fn holder(
    tx: &Transaction<'_>,
    name: &str,
    key: &str,
) -> rusqlite::Result<Option<(Place, bool)>> {
    let place = |row: &rusqlite::Row<'_>| {
        let place = Place { seq: row.get(0)?, id: task_id(row, 1)?, lane: row.get(2)? };
        Ok((place, row.get::<_, i64>(3)? == 0))
    };
    tx.prepare(HOLDER)?.query_row([name, key], place).optional()
}

fn insert(tx: &mut Transaction<'_>, task: &NewTask) -> rusqlite::Result<()> {
    let lane = tx.lane_number(lane_of(task))?;
    let due_at = rules::due_at(task.due, tx.now);
    let expires_at = task.expires.map(|time| rules::after(tx.now, time));
    let key_name = task.key.as_ref().map(|_| &*task.name);
    let id = task.id.as_uuid().as_bytes();
    let inserted = tx
        .hot(Hot::Insert)?
        .execute(params![id, lane, tx.now, due_at, expires_at, key_name, task.key])?;
    if inserted == 0 {
        tx.rings.again();
        return Ok(());
    }
    let seq = tx.conn.last_insert_rowid();
    write_payload(&mut *tx.hot(Hot::InsertPayload)?, seq, task)?;
    write_tags(tx, task.id, task)?;
    tx.pending(lane, due_at);
    Ok(())
}

fn replace(tx: &mut Transaction<'_>, place: Place, task: &NewTask) -> rusqlite::Result<()> {
    let lane = tx.lane_number(lane_of(task))?;
    let due_at = rules::due_at(task.due, tx.now);
    let expires_at = task.expires.map(|time| rules::after(tx.now, time));
    let request = task.id.as_uuid().as_bytes();
    tx.execute(REPLACE, params![place.seq, lane, due_at, expires_at, request])?;
    write_payload(&mut *tx.prepare(REPLACE_PAYLOAD)?, place.seq, task)?;
    tx.execute("DELETE FROM evertask_tags WHERE id = ?1", [place.id.as_uuid().as_bytes()])?;
    write_tags(tx, place.id, task)?;
    tx.lanes.forget(place.lane);
    tx.pending(lane, due_at);
    Ok(())
}

fn write_payload(statement: &mut Statement<'_>, seq: i64, task: &NewTask) -> rusqlite::Result<()> {
    let timeout = task.timeout.map(row::timeout_number);
    let tick = task.tick.map(to_micros);
    let payload = &task.payload;
    statement
        .execute(params![seq, payload.codec, &*payload.bytes, task.retries, timeout, tick])
        .map(drop)
}

fn write_tags(tx: &Transaction<'_>, id: TaskId, task: &NewTask) -> rusqlite::Result<()> {
    for (key, value) in &task.tags {
        tx.execute(INSERT_TAG, params![id.as_uuid().as_bytes(), key, value])?;
    }
    Ok(())
}

fn lane_of(task: &NewTask) -> Lane {
    Lane {
        queue: task.queue.clone(),
        name: task.name.clone(),
        version: task.version,
        priority: task.priority,
        suspect: false,
    }
}
