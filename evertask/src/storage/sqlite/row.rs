//! How values lie in columns.

use std::time::Duration;

use rusqlite::Row;
use uuid::Uuid;

use super::error::damaged;
use crate::{
    body::Body,
    storage::{
        clock::duration_micros,
        numbers::{codec_of, end_of, nearest, state_of},
    },
    task::{AttemptEnd, TaskId, TaskState},
};

pub(super) fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<TaskState> {
    let state = state_of(row.get::<_, i64>(column)?);
    state.ok_or_else(|| damaged("a task is in a state that does not exist"))
}

pub(super) fn end(row: &Row<'_>, column: usize) -> rusqlite::Result<AttemptEnd> {
    let end = end_of(row.get::<_, i64>(column)?);
    end.ok_or_else(|| damaged("an attempt ended in a way that does not exist"))
}

pub(super) fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    Ok(Uuid::from_bytes(row.get(column)?))
}

pub(super) fn task_id(row: &Row<'_>, column: usize) -> rusqlite::Result<TaskId> {
    uuid(row, column).map(TaskId::from_uuid)
}

/// A number that counts.
pub(super) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u32> {
    row.get(column).map(nearest)
}

/// A count that may not be there.
pub(super) fn optional_count(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u32>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(nearest))
}

/// A body in two columns: codec, bytes.
pub(super) fn body(row: &Row<'_>, column: usize) -> rusqlite::Result<Body> {
    let codec = codec_of(row.get(column)?);
    Ok(Body { codec, bytes: row.get_ref(column + 1)?.as_blob()?.into() })
}

/// A body in two columns, if there is one.
pub(super) fn optional_body(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Body>> {
    let codec = row.get::<_, Option<i64>>(column)?;
    codec.map(|_| body(row, column)).transpose()
}

/// Numbers that only grow are kept as SQLite's integers, whose upper half is never reached.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned())
}

/// How a task's own timeout is stored: -1 for none at all.
pub(super) fn timeout_number(timeout: Option<Duration>) -> i64 {
    timeout.map_or(-1, duration_micros)
}

pub(super) fn timeout(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Option<Duration>>> {
    let number = row.get::<_, Option<i64>>(column)?;
    // A negative number is the one for none.
    Ok(number.map(|micros| u64::try_from(micros).ok().map(Duration::from_micros)))
}
