//! Reads, for people: each in one snapshot, none of them waits for the writer.

use std::{collections::BTreeMap, fmt::Write};

use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter, types::Value};
use uuid::Uuid;

use super::row::{body, count, end, optional_body, state, task_id, unsigned, uuid};
use crate::{
    bounds::PAGE_MAX,
    storage::{
        Backlog, Count, NodeInfo, Page, TaskFilter,
        clock::{from_micros, to_micros},
        numbers::state_number,
        rules,
    },
    task::{AttemptInfo, TaskId, TaskInfo, TaskState},
};

/// How far due tasks are counted.
const BACKLOG_COUNTED: i64 = 10_000;

const COLUMNS: &str = "SELECT t.id, l.name, l.version, l.queue, l.priority, t.state, t.spent, t.lease, t.created_at, t.due_at,
     t.started_at, t.finished_at, t.expires_at, t.error, t.key, t.cancel_asked, t.losses, t.output_error,
     t.output_codec, t.output, p.codec, p.bytes, p.tick, t.node";

const REST: &str = "JOIN evertask_lanes AS l ON l.lane = t.lane JOIN evertask_payloads AS p ON p.seq = t.seq WHERE 1";

const ATTEMPTS: &str =
    "SELECT lease, attempt, node, binary, started_at, ended_at, outcome, error, fingerprint
     FROM evertask_attempts WHERE id = ?1 ORDER BY lease";

const COUNTS: &str = "SELECT l.queue, l.name, t.state, count(*)
     FROM evertask_tasks AS t JOIN evertask_lanes AS l ON l.lane = t.lane GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";

// Of one lane, however long it is, at most so many.
const DUE: &str = "SELECT count(*), min(due_at) FROM (
         SELECT due_at FROM evertask_tasks INDEXED BY evertask_pending
         WHERE state = 0 AND lane = ?1 AND due_at <= ?2 ORDER BY due_at LIMIT ?3)";

const NODES: &str = "SELECT id, host, pid, binary, handlers, queues, joined_at FROM evertask_nodes";

pub(super) fn task(conn: &Connection, id: TaskId) -> rusqlite::Result<Option<TaskInfo>> {
    let sql = format!("{COLUMNS} FROM evertask_tasks AS t {REST} AND t.id = ?1");
    let id = id.as_uuid().as_bytes();
    let Some(mut task) = conn.prepare_cached(&sql)?.query_row([id], info).optional()? else {
        return Ok(None);
    };
    task.tags = tags(conn, task.id)?;
    task.attempts =
        conn.prepare_cached(ATTEMPTS)?.query_map([id], attempt)?.collect::<Result<_, _>>()?;
    Ok(Some(task))
}

pub(super) fn tasks(
    conn: &Connection,
    filter: &TaskFilter,
    page: Page,
) -> rusqlite::Result<Vec<TaskInfo>> {
    let (sql, values) = listing(filter, page);
    let mut select = conn.prepare_cached(&sql)?;
    let rows = select.query_map(params_from_iter(values), info)?;
    rows.map(|task| {
        let mut task = task?;
        task.tags = tags(conn, task.id)?;
        Ok(task)
    })
    .collect()
}

/// The statement that lists what matches, driven by the narrowest index there is for it.
pub(super) fn listing(filter: &TaskFilter, page: Page) -> (String, Vec<Value>) {
    let TaskFilter { name, queue, state, tag, key_prefix, created_from, created_to, fingerprint } =
        filter;
    let from = match (tag, key_prefix, state) {
        (Some(_), ..) => "evertask_tags AS g CROSS JOIN evertask_tasks AS t ON t.id = g.id",
        (_, Some(_), _) => "evertask_tasks AS t INDEXED BY evertask_keys",
        (_, _, Some(TaskState::Running)) => "evertask_tasks AS t INDEXED BY evertask_running",
        (_, _, Some(TaskState::Failed | TaskState::Cancelled)) => {
            "evertask_tasks AS t INDEXED BY evertask_unhappy"
        }
        _ => "evertask_tasks AS t",
    };
    let mut sql = format!("{COLUMNS} FROM {from} {REST}");
    let mut values = Vec::new();
    let mut and = |condition: &str, value: Value| {
        values.push(value);
        let _infallible = write!(sql, " AND {condition} ?{}", values.len());
    };
    if let Some((key, value)) = tag {
        and("g.key =", key.clone().into());
        and("g.value =", value.clone().into());
    }
    if let Some(name) = name {
        and("l.name =", name.clone().into());
    }
    if let Some(queue) = queue {
        and("l.queue =", queue.clone().into());
    }
    if let Some(prefix) = key_prefix {
        and("t.key >=", prefix.clone().into());
        if let Some(end) = after_prefix(prefix) {
            and("t.key <", end.into());
        }
    }
    if let Some(from) = created_from {
        and("t.created_at >=", to_micros(*from).into());
    }
    if let Some(to) = created_to {
        and("t.created_at <", to_micros(*to).into());
    }
    if let Some(before) = page.before {
        and("t.id <", before.as_uuid().as_bytes().to_vec().into());
    }
    let limit = i64::try_from(page.limit.clamp(1, PAGE_MAX)).unwrap_or(i64::MAX);
    if let Some(fingerprint) = fingerprint {
        and(
            "t.id IN (SELECT id FROM evertask_attempts WHERE fingerprint =",
            fingerprint.cast_signed().into(),
        );
        sql.push(')');
    }
    if let Some(state) = state {
        // As literals, since an index over some states is only used for those that are spelled out.
        let number = state_number(*state);
        let unhappy = if number > 2 { " AND t.state > 2" } else { "" };
        let _infallible = write!(sql, " AND t.state = {number}{unhappy}");
    }
    let newest = if tag.is_some() { "g.id" } else { "t.id" };
    let _infallible = write!(sql, " ORDER BY {newest} DESC LIMIT {limit}");
    (sql, values)
}

/// The least text that is greater than all that begin with this one, compared by bytes; `None` if there is none.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // A range of characters steps over those that do not exist.
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

pub(super) fn counts(conn: &Connection) -> rusqlite::Result<Vec<Count>> {
    let count = |row: &Row<'_>| {
        Ok(Count {
            queue: row.get(0)?,
            name: row.get(1)?,
            state: state(row, 2)?,
            tasks: unsigned(row, 3)?,
        })
    };
    conn.prepare_cached(COUNTS)?.query_map([], count)?.collect()
}

pub(super) fn backlog(conn: &Connection, now: i64) -> rusqlite::Result<Vec<Backlog>> {
    let mut lanes = conn.prepare_cached("SELECT lane, queue, name, version FROM evertask_lanes")?;
    let mut due = conn.prepare_cached(DUE)?;
    let mut found: BTreeMap<(String, String, u32), (u64, i64)> = BTreeMap::new();
    let mut rows = lanes.query([])?;
    while let Some(row) = rows.next()? {
        let (count, oldest): (u64, Option<i64>) = due
            .query_row(params![row.get::<_, i64>(0)?, now, BACKLOG_COUNTED], |row| {
                Ok((unsigned(row, 0)?, row.get(1)?))
            })?;
        let Some(oldest) = oldest else { continue };
        // Lanes that differ in priority only are one line for people.
        let line = found.entry((row.get(1)?, row.get(2)?, row.get(3)?)).or_insert((0, i64::MAX));
        *line =
            (line.0.saturating_add(count).min(BACKLOG_COUNTED.unsigned_abs()), line.1.min(oldest));
    }
    let backlog = |((queue, name, version), (due, oldest))| Backlog {
        queue,
        name,
        version,
        due,
        oldest: rules::between(oldest, now),
    };
    Ok(found.into_iter().map(backlog).collect())
}

/// All nodes that are announced; whether they live is not written in the file.
pub(super) fn nodes(conn: &Connection) -> rusqlite::Result<Vec<NodeInfo>> {
    let node = |row: &Row<'_>| {
        let (handlers, queues): (String, String) = (row.get(4)?, row.get(5)?);
        Ok(NodeInfo {
            host: row.get(1)?,
            pid: count(row, 2)?,
            binary: row.get(3)?,
            ..NodeInfo::new(uuid(row, 0)?, from_micros(row.get(6)?))
        }
        .with_trade(&handlers, &queues))
    };
    conn.prepare_cached(NODES)?.query_map([], node)?.collect()
}

fn info(row: &Row<'_>) -> rusqlite::Result<TaskInfo> {
    let instant = |column| row.get::<_, i64>(column).map(from_micros);
    let maybe =
        |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(from_micros));
    let state = state(row, 5)?;
    let running = u32::from(state == TaskState::Running);
    Ok(TaskInfo {
        id: task_id(row, 0)?,
        name: row.get(1)?,
        version: row.get(2)?,
        queue: row.get(3)?,
        priority: row.get(4)?,
        state,
        attempt: count(row, 6)?.saturating_add(running),
        lease: unsigned(row, 7)?,
        created: instant(8)?,
        due: instant(9)?,
        started: maybe(10)?,
        finished: maybe(11)?,
        expires: maybe(12)?,
        error: row.get(13)?,
        key: row.get(14)?,
        cancel_asked: row.get(15)?,
        losses: count(row, 16)?,
        output_error: row.get(17)?,
        output: optional_body(row, 18)?,
        payload: body(row, 20)?,
        tick: maybe(22)?,
        node: row.get::<_, Option<[u8; 16]>>(23)?.map(Uuid::from_bytes),
        tags: BTreeMap::new(),
        attempts: Vec::new(),
    })
}

fn tags(conn: &Connection, id: TaskId) -> rusqlite::Result<BTreeMap<String, String>> {
    conn.prepare_cached("SELECT key, value FROM evertask_tags WHERE id = ?1")?
        .query_map([id.as_uuid().as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<AttemptInfo> {
    Ok(AttemptInfo {
        lease: unsigned(row, 0)?,
        attempt: count(row, 1)?,
        node: uuid(row, 2)?,
        binary: row.get(3)?,
        started: from_micros(row.get(4)?),
        ended: from_micros(row.get(5)?),
        end: end(row, 6)?,
        error: row.get(7)?,
        fingerprint: row.get::<_, Option<i64>>(8)?.map(i64::cast_unsigned),
    })
}
