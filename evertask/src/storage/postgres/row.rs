//! How values lie in columns.

use std::{sync::Arc, time::Duration};

use tokio_postgres::{Row, types::FromSql};
use uuid::Uuid;

use super::error::Fault;
use crate::{
    body::Body,
    storage::{
        clock::duration_micros,
        numbers::{codec_of, end_of, nearest, state_of},
    },
    task::{AttemptEnd, TaskId, TaskState},
};

/// A value of a row by its place.
pub(super) fn get<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, Fault> {
    Ok(row.try_get(column)?)
}

pub(super) fn state(row: &Row, column: usize) -> Result<TaskState, Fault> {
    let state = state_of(get::<i16>(row, column)?);
    state.ok_or(Fault::Damaged("a task is in a state that does not exist"))
}

pub(super) fn end(row: &Row, column: usize) -> Result<AttemptEnd, Fault> {
    let end = end_of(get::<i16>(row, column)?);
    end.ok_or(Fault::Damaged("an attempt ended in a way that does not exist"))
}

pub(super) fn task_id(row: &Row, column: usize) -> Result<TaskId, Fault> {
    get::<Uuid>(row, column).map(TaskId::from_uuid)
}

/// A number that counts.
pub(super) fn count(row: &Row, column: usize) -> Result<u32, Fault> {
    get(row, column).map(nearest)
}

/// A count that may not be there.
pub(super) fn optional_count(row: &Row, column: usize) -> Result<Option<u32>, Fault> {
    Ok(get::<Option<i64>>(row, column)?.map(nearest))
}

/// Numbers that only grow are kept in PostgreSQL's integers, whose upper half is never reached.
pub(super) fn unsigned(row: &Row, column: usize) -> Result<u64, Fault> {
    Ok(get::<i64>(row, column)?.cast_unsigned())
}

/// A body in two columns: codec, bytes.
pub(super) fn body(row: &Row, codec: usize, bytes: usize) -> Result<Body, Fault> {
    let codec = codec_of(get::<i32>(row, codec)?.into());
    Ok(Body { codec, bytes: Arc::from(get::<&[u8]>(row, bytes)?) })
}

/// A body in two columns, if there is one.
pub(super) fn optional_body(row: &Row, codec: usize, bytes: usize) -> Result<Option<Body>, Fault> {
    get::<Option<i32>>(row, codec)?.map(|_| body(row, codec, bytes)).transpose()
}

/// How a task's own timeout is stored: -1 for none at all.
pub(super) fn timeout_number(timeout: Option<Duration>) -> i64 {
    timeout.map_or(-1, duration_micros)
}

pub(super) fn timeout(row: &Row, column: usize) -> Result<Option<Option<Duration>>, Fault> {
    let number = get::<Option<i64>>(row, column)?;
    // A negative number is the one for none.
    Ok(number.map(|micros| u64::try_from(micros).ok().map(Duration::from_micros)))
}
