//! Nodes: who is there, who holds what, and who takes it over.

use rusqlite::{Connection, Row, params};

use super::{
    row::{count, task_id, unsigned, uuid},
    transaction::Transaction,
};
use crate::{
    storage::{Beat, Held, Lost, Node, NodeId, rules},
    verdict::SUSPECT_AFTER,
};

/// How many tasks one call takes over at most.
const SEIZE_MAX: usize = 1_000;

const JOIN: &str =
    "INSERT OR REPLACE INTO evertask_nodes (id, host, pid, binary, handlers, queues, joined_at)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

const LEAVE: &str = "DELETE FROM evertask_nodes WHERE id = ?1";

// Running → running, begun. Fenced by the lease, and by the node that holds it.
const BEGIN: &str = "UPDATE evertask_tasks SET begun = 1, started_at = ?4
     WHERE id = ?1 AND lease = ?2 AND node = ?3 AND state = 1 AND begun = 0";

pub(super) const HELD: &str =
    "SELECT id, lease, claim, cancel_asked FROM evertask_tasks INDEXED BY evertask_running
     WHERE state = 1 AND node = ?1 ORDER BY claim, id";

pub(super) const HOLDERS: &str =
    "SELECT DISTINCT node FROM evertask_tasks INDEXED BY evertask_running WHERE state = 1";

pub(super) const BEGUN: &str = "SELECT count(*) FROM evertask_tasks INDEXED BY evertask_running
     WHERE state = 1 AND node = ?1 AND begun AND claim <> 0";

// Suspects first: whether one was alone can only be seen while the others are still there. What the dead node had itself seized
// comes last: it did not run there, and what it had begun elsewhere is still known.
pub(super) const OF_DEAD: &str =
    "SELECT seq, id, min(lease, 9223372036854775806) + 1, lane, spent, begun, started_at, losses >= ?2 AND claim <> 0, lost_alone
     FROM evertask_tasks INDEXED BY evertask_running WHERE state = 1 AND node = ?1
     ORDER BY begun AND claim <> 0 DESC, losses >= ?2 DESC, id LIMIT ?3";

// Seized by the node itself, and not judged yet.
pub(super) const SEIZED: &str =
    "SELECT seq, id, lease, lane, spent, begun, started_at, 0, lost_alone
     FROM evertask_tasks INDEXED BY evertask_running WHERE state = 1 AND node = ?1 AND claim = 0 ORDER BY id LIMIT ?2";

// Running → running under another node. The new lease refuses whatever the old holder may still write.
const SEIZE: &str = "UPDATE evertask_tasks SET lease = min(lease, 9223372036854775806) + 1, node = ?2, claim = 0 WHERE seq = ?1";

pub(super) fn join(tx: &mut Transaction<'_>, node: &Node) -> rusqlite::Result<()> {
    let handlers: Vec<(&str, u32)> =
        node.handlers.iter().map(|known| (&*known.name, known.version)).collect();
    // Texts and numbers always make JSON.
    let handlers = serde_json::to_string(&handlers).unwrap_or_default();
    let queues = serde_json::to_string(&node.queues).unwrap_or_default();
    let Node { id, host, pid, binary, .. } = node;
    tx.execute(JOIN, params![id.as_bytes(), host, pid, binary, handlers, queues, tx.now])?;
    Ok(())
}

pub(super) fn leave(tx: &mut Transaction<'_>, node: NodeId) -> rusqlite::Result<()> {
    // What it holds is to be taken over at once.
    tx.rings.peers = true;
    forget(tx, node)
}

/// Node → ∅, for one that is known to be dead. What it holds stays, to be taken over.
pub(super) fn forget(tx: &Transaction<'_>, node: NodeId) -> rusqlite::Result<()> {
    tx.execute(LEAVE, [node.as_bytes()]).map(drop)
}

pub(super) fn renew(tx: &mut Transaction<'_>, beat: &Beat) -> rusqlite::Result<Vec<Held>> {
    let node = beat.node.as_bytes();
    for (id, lease) in &beat.begun {
        let id = id.as_uuid().as_bytes();
        tx.execute(BEGIN, params![id, lease.cast_signed(), node, tx.now])?;
    }
    let held = |row: &Row<'_>| {
        Ok(Held {
            id: task_id(row, 0)?,
            lease: unsigned(row, 1)?,
            claim: unsigned(row, 2)?,
            cancel: row.get(3)?,
        })
    };
    tx.prepare(HELD)?.query_map([node], held)?.collect()
}

/// All nodes that hold tasks.
pub(super) fn holders(conn: &Connection) -> rusqlite::Result<Vec<NodeId>> {
    conn.prepare_cached(HOLDERS)?.query_map([], |row| uuid(row, 0))?.collect()
}

/// All nodes that have announced themselves.
pub(super) fn announced(conn: &Connection) -> rusqlite::Result<Vec<NodeId>> {
    conn.prepare_cached("SELECT id FROM evertask_nodes")?
        .query_map([], |row| uuid(row, 0))?
        .collect()
}

pub(super) fn seize(
    tx: &mut Transaction<'_>,
    from: NodeId,
    by: NodeId,
    limit: usize,
) -> rusqlite::Result<Vec<Lost>> {
    let limit = i64::try_from(limit.min(SEIZE_MAX)).unwrap_or(i64::MAX);
    let begun: i64 = tx.prepare(BEGUN)?.query_row([from.as_bytes()], |row| row.get(0))?;
    let read = |row: &Row<'_>| {
        let started = row.get::<_, bool>(5)?;
        let started_at = row.get::<_, Option<i64>>(6)?.filter(|_| started);
        let lane = tx.lanes.get(row.get(3)?);
        let lost = Lost {
            id: task_id(row, 1)?,
            lease: unsigned(row, 2)?,
            name: lane.map_or_else(|| "".into(), |lane| lane.name.clone()),
            queue: lane.map_or_else(|| "".into(), |lane| lane.queue.clone()),
            attempt: count(row, 4)?.saturating_add(1),
            node: from,
            started,
            ran: started_at.map(|at| rules::between(at, tx.now)).unwrap_or_default(),
            alone: started && row.get(7)? && begun == 1,
            lost_alone: count(row, 8)?,
        };
        Ok((row.get::<_, i64>(0)?, lost))
    };
    if from == by {
        let mut seized = tx.prepare(SEIZED)?;
        let seized = seized.query_map(params![from.as_bytes(), limit], read)?;
        return seized.map(|lost| Ok(lost?.1)).collect();
    }
    let lost: Vec<(i64, Lost)> = tx
        .prepare(OF_DEAD)?
        .query_map(params![from.as_bytes(), SUSPECT_AFTER, limit], read)?
        .collect::<rusqlite::Result<_>>()?;
    for (seq, _) in &lost {
        tx.execute(SEIZE, params![seq, by.as_bytes()])?;
    }
    Ok(lost.into_iter().map(|(_, lost)| lost).collect())
}
