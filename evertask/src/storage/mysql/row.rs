//! How values lie in columns.

use std::{str::FromStr, sync::Arc, time::Duration};

use mysql_async::{Row, Value};
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

/// The bytes of a value by its place; `None` for NULL. All values come as text.
fn cell(row: &Row, column: usize) -> Result<Option<&[u8]>, Fault> {
    match row.as_ref(column) {
        Some(Value::NULL) => Ok(None),
        Some(Value::Bytes(bytes)) => Ok(Some(bytes)),
        _ => Err(Fault::Damaged("a column is missing")),
    }
}

pub(super) fn bytes(row: &Row, column: usize) -> Result<&[u8], Fault> {
    cell(row, column)?.ok_or(Fault::Damaged("a value is missing"))
}

pub(super) fn maybe_text(row: &Row, column: usize) -> Result<Option<&str>, Fault> {
    let utf8 = |bytes| std::str::from_utf8(bytes).map_err(|_| Fault::Damaged("a text is no UTF-8"));
    cell(row, column)?.map(utf8).transpose()
}

pub(super) fn text(row: &Row, column: usize) -> Result<&str, Fault> {
    maybe_text(row, column)?.ok_or(Fault::Damaged("a text is missing"))
}

/// A number, if there is one.
pub(super) fn maybe_number<N: FromStr>(row: &Row, column: usize) -> Result<Option<N>, Fault> {
    let number = |text: &str| text.parse().map_err(|_| Fault::Damaged("a number is out of range"));
    maybe_text(row, column)?.map(number).transpose()
}

pub(super) fn number<N: FromStr>(row: &Row, column: usize) -> Result<N, Fault> {
    maybe_number(row, column)?.ok_or(Fault::Damaged("a number is missing"))
}

/// A number that counts.
pub(super) fn count(row: &Row, column: usize) -> Result<u32, Fault> {
    number(row, column).map(nearest)
}

/// A count that may not be there.
pub(super) fn optional_count(row: &Row, column: usize) -> Result<Option<u32>, Fault> {
    Ok(maybe_number(row, column)?.map(nearest))
}

pub(super) fn truth(row: &Row, column: usize) -> Result<bool, Fault> {
    Ok(number::<i64>(row, column)? != 0)
}

pub(super) fn maybe_uuid(row: &Row, column: usize) -> Result<Option<Uuid>, Fault> {
    let uuid = |bytes| Uuid::from_slice(bytes).map_err(|_| Fault::Damaged("an id is no id"));
    cell(row, column)?.map(uuid).transpose()
}

pub(super) fn uuid(row: &Row, column: usize) -> Result<Uuid, Fault> {
    maybe_uuid(row, column)?.ok_or(Fault::Damaged("an id is missing"))
}

pub(super) fn task_id(row: &Row, column: usize) -> Result<TaskId, Fault> {
    uuid(row, column).map(TaskId::from_uuid)
}

pub(super) fn state(row: &Row, column: usize) -> Result<TaskState, Fault> {
    let state = state_of(number::<i64>(row, column)?);
    state.ok_or(Fault::Damaged("a task is in a state that does not exist"))
}

pub(super) fn end(row: &Row, column: usize) -> Result<AttemptEnd, Fault> {
    let end = end_of(number::<i64>(row, column)?);
    end.ok_or(Fault::Damaged("an attempt ended in a way that does not exist"))
}

/// Numbers that only grow are kept in signed columns, whose upper half is never reached.
pub(super) fn unsigned(row: &Row, column: usize) -> Result<u64, Fault> {
    Ok(number::<i64>(row, column)?.cast_unsigned())
}

/// A body in two columns: codec, bytes.
pub(super) fn body(row: &Row, codec: usize, content: usize) -> Result<Body, Fault> {
    Ok(Body { codec: codec_of(number(row, codec)?), bytes: Arc::from(bytes(row, content)?) })
}

/// A body in two columns, if there is one.
pub(super) fn optional_body(
    row: &Row,
    codec: usize,
    content: usize,
) -> Result<Option<Body>, Fault> {
    cell(row, codec)?.map(|_| body(row, codec, content)).transpose()
}

/// How a task's own timeout is stored: -1 for none at all.
pub(super) fn timeout_number(timeout: Option<Duration>) -> i64 {
    timeout.map_or(-1, duration_micros)
}

pub(super) fn timeout(row: &Row, column: usize) -> Result<Option<Option<Duration>>, Fault> {
    let number = maybe_number::<i64>(row, column)?;
    // A negative number is the one for none.
    Ok(number.map(|micros| u64::try_from(micros).ok().map(Duration::from_micros)))
}
