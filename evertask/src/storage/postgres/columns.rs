//! New tasks turned on their side: one array for each column.

use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::{connection::Sql, lane::LaneId, row};
use crate::{
    storage::{
        Due, NewTask,
        clock::{duration_micros, to_micros},
    },
    task::TaskId,
};

/// A value for a statement.
pub(super) type Value<'a> = &'a (dyn ToSql + Sync);

/// What is stored of tasks in their own rows.
pub(super) struct Columns<'a> {
    pub(super) id: Vec<Uuid>,
    lane: &'a [LaneId],
    at: Vec<Option<i64>>,
    delay: Vec<i64>,
    expires: Vec<Option<i64>>,
    codec: Vec<i32>,
    payload: Vec<&'a [u8]>,
    retries: Vec<Option<i64>>,
    timeout: Vec<Option<i64>>,
    tick: Vec<Option<i64>>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(tasks: &[&'a NewTask], lane: &'a [LaneId]) -> Self {
        let at = |due| match due {
            Due::Now | Due::After(_) => None,
            Due::At(instant) => Some(to_micros(instant)),
        };
        let delay = |due| match due {
            Due::After(delay) => duration_micros(delay),
            Due::Now | Due::At(_) => 0,
        };
        Self {
            id: tasks.iter().map(|task| *task.id.as_uuid()).collect(),
            lane,
            at: tasks.iter().map(|task| at(task.due)).collect(),
            delay: tasks.iter().map(|task| delay(task.due)).collect(),
            expires: tasks.iter().map(|task| task.expires.map(duration_micros)).collect(),
            codec: tasks.iter().map(|task| task.payload.codec.into()).collect(),
            payload: tasks.iter().map(|task| &*task.payload.bytes).collect(),
            retries: tasks.iter().map(|task| task.retries.map(i64::from)).collect(),
            timeout: tasks.iter().map(|task| task.timeout.map(row::timeout_number)).collect(),
            tick: tasks.iter().map(|task| task.tick.map(to_micros)).collect(),
        }
    }

    /// A statement with these for its first parameters, after the injected time.
    pub(super) fn with<'s>(
        &'s self,
        sql: &'static Sql,
        now: &'s Option<i64>,
    ) -> (&'static Sql, Vec<Value<'s>>) {
        let Self { id, lane, at, delay, expires, codec, payload, retries, timeout, tick } = self;
        (sql, vec![now, id, lane, at, delay, expires, codec, payload, retries, timeout, tick])
    }
}

/// What is stored of tasks for finding them.
pub(super) struct Tags<'a> {
    pub(super) id: Vec<Uuid>,
    key: Vec<&'a str>,
    value: Vec<&'a str>,
}

impl<'a> Tags<'a> {
    pub(super) fn of(tasks: impl Iterator<Item = (TaskId, &'a NewTask)>) -> Self {
        let mut tags = Self { id: Vec::new(), key: Vec::new(), value: Vec::new() };
        for (id, task) in tasks {
            for (key, value) in &task.tags {
                tags.id.push(*id.as_uuid());
                tags.key.push(key);
                tags.value.push(value);
            }
        }
        tags
    }

    pub(super) fn params(&self) -> [Value<'_>; 3] {
        [&self.id, &self.key, &self.value]
    }
}

/// The rows of one statement out of several answers.
pub(super) fn only(answers: Vec<Vec<Row>>) -> Vec<Row> {
    answers.into_iter().next().unwrap_or_default()
}
