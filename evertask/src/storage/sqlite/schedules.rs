//! Schedules: changed by compare-and-set together with their tasks, found by when they come up.

use std::{collections::BTreeSet, sync::Arc};

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::{
    enqueue,
    row::{body, state, task_id, uuid},
    transaction::Transaction,
};
use crate::{
    bounds::PAGE_MAX,
    storage::{
        DueSchedules, Known, ScheduleChange, ScheduleChanged, SchedulePage, ScheduleRow,
        StoredSchedule,
        clock::{from_micros, to_micros},
        rules,
    },
};

const REVISION: &str = "SELECT revision FROM evertask_schedules WHERE name = ?1 AND key = ?2";

// The revision was read in the same write transaction, so nobody can have changed it since.
const PUT: &str =
    "INSERT INTO evertask_schedules (name, key, revision, next_at, format, last, codec, bytes)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
     ON CONFLICT (name, key) DO UPDATE SET revision = excluded.revision, next_at = excluded.next_at,
        format = excluded.format, last = excluded.last, codec = excluded.codec, bytes = excluded.bytes";

const REMOVE: &str = "DELETE FROM evertask_schedules WHERE name = ?1 AND key = ?2";

const COLUMNS: &str =
    "SELECT s.name, s.key, s.revision, s.next_at, s.format, s.last, s.codec, s.bytes, t.state";

const REST: &str = "LEFT JOIN evertask_tasks AS t ON t.id = s.last";

pub(super) const LATER: &str = "SELECT next_at FROM evertask_schedules INDEXED BY evertask_next
     WHERE name = ?1 AND next_at > ?2 AND format <= ?3 ORDER BY next_at, key LIMIT 1";

pub(super) fn due_statement() -> String {
    format!(
        "{COLUMNS} FROM evertask_schedules AS s INDEXED BY evertask_next {REST}
         WHERE s.name = ?1 AND s.next_at <= ?2 AND s.format <= ?3 ORDER BY s.next_at, s.key LIMIT ?4"
    )
}

pub(super) fn change(
    tx: &mut Transaction<'_>,
    changes: &[ScheduleChange],
) -> rusqlite::Result<Vec<ScheduleChanged>> {
    changes.iter().map(|change| change_one(tx, change)).collect()
}

fn change_one(
    tx: &mut Transaction<'_>,
    change: &ScheduleChange,
) -> rusqlite::Result<ScheduleChanged> {
    let ScheduleChange { name, key, from, revision, to, tasks } = change;
    let at = tx.prepare(REVISION)?.query_row([name, key], |row| uuid(row, 0)).optional()?;
    let repeated = match to {
        Some(_) => at == Some(*revision),
        None => at.is_none(),
    };
    if !repeated && at != *from {
        return Ok(ScheduleChanged::Stale);
    }
    if !repeated {
        if let Some(row) = to {
            put(tx, *revision, row)?;
        } else {
            tx.execute(REMOVE, [name, key])?;
        }
        tx.rings.schedules = true;
    }
    enqueue::enqueue(tx, tasks).map(ScheduleChanged::Done)
}

fn put(tx: &Transaction<'_>, revision: Uuid, row: &ScheduleRow) -> rusqlite::Result<()> {
    let ScheduleRow { name, key, next, format, last, body } = row;
    let last = last.as_ref().map(|id| id.as_uuid().as_bytes());
    let next_at = next.map(to_micros);
    let (codec, bytes) = (body.codec, &*body.bytes);
    tx.execute(PUT, params![name, key, revision.as_bytes(), next_at, format, last, codec, bytes])?;
    Ok(())
}

pub(super) fn due(
    conn: &Connection,
    handlers: &[Known],
    format: u32,
    limit: usize,
    now: i64,
) -> rusqlite::Result<DueSchedules> {
    let names: BTreeSet<&Arc<str>> = handlers.iter().map(|known| &known.name).collect();
    let limit = limit.clamp(1, PAGE_MAX);
    let more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let mut select = conn.prepare_cached(&due_statement())?;
    let mut select_later = conn.prepare_cached(LATER)?;
    let (mut due, mut later) = (Vec::new(), None::<i64>);
    for name in names {
        let found = select.query_map(params![name, now, format, more], stored)?;
        due.extend(found.collect::<Result<Vec<_>, _>>()?);
        let next =
            select_later.query_row(params![name, now, format], |row| row.get(0)).optional()?;
        later = [later, next].into_iter().flatten().min();
    }
    due.sort_by(|one, two| {
        let place = |schedule: &StoredSchedule| {
            let ScheduleRow { next, name, key, .. } = &schedule.row;
            (*next, name.clone(), key.clone())
        };
        place(one).cmp(&place(two))
    });
    let left_over = (due.len() > limit).then_some(now);
    due.truncate(limit);
    let next_in = left_over.or(later).map(|at| rules::between(now, at));
    Ok(DueSchedules { now: from_micros(now), due, next_in })
}

pub(super) fn one(
    conn: &Connection,
    name: &str,
    key: &str,
) -> rusqlite::Result<Option<StoredSchedule>> {
    let sql =
        format!("{COLUMNS} FROM evertask_schedules AS s {REST} WHERE s.name = ?1 AND s.key = ?2");
    conn.prepare_cached(&sql)?.query_row([name, key], stored).optional()
}

pub(super) fn list(
    conn: &Connection,
    page: &SchedulePage,
) -> rusqlite::Result<Vec<StoredSchedule>> {
    let SchedulePage { name, after, limit } = page;
    let (after_name, after_key) = match (after, name) {
        (Some((name, key)), _) => (name.as_str(), key.as_str()),
        // No key is empty, so all of them come after this.
        (None, Some(name)) => (name.as_str(), ""),
        (None, None) => ("", ""),
    };
    let only = if name.is_some() { "AND s.name = ?4" } else { "AND ?4 IS NULL" };
    let sql = format!(
        "{COLUMNS} FROM evertask_schedules AS s {REST} WHERE (s.name, s.key) > (?1, ?2) {only} ORDER BY s.name, s.key LIMIT ?3"
    );
    let limit = i64::try_from((*limit).clamp(1, PAGE_MAX)).unwrap_or(i64::MAX);
    conn.prepare_cached(&sql)?
        .query_map(params![after_name, after_key, limit, name], stored)?
        .collect()
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredSchedule> {
    let schedule = ScheduleRow {
        name: row.get(0)?,
        key: row.get(1)?,
        next: row.get::<_, Option<i64>>(3)?.map(from_micros),
        format: row.get(4)?,
        last: row.get::<_, Option<[u8; 16]>>(5)?.map(|_| task_id(row, 5)).transpose()?,
        body: body(row, 6)?,
    };
    let last_state = row.get::<_, Option<i64>>(8)?.map(|_| state(row, 8)).transpose()?;
    Ok(StoredSchedule::new(schedule, uuid(row, 2)?, last_state))
}
