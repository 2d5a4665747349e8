//! New tasks turned on their side: one array for each column.

use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::{
    connection::{Sql, Step},
    lane::LaneId,
    row,
};
use crate::storage::{
    Due, NewTask,
    clock::{duration_micros, to_micros},
};

/// A value for a statement.
pub(super) type Value<'a> = &'a (dyn ToSql + Sync);

/// Statements with the values they are sent with, for one transaction.
#[derive(Default)]
pub(super) struct Statements<'a>(Vec<(&'static Sql, Vec<Value<'a>>)>);

impl<'a> Statements<'a> {
    pub(super) fn add(&mut self, sql: &'static Sql, params: Vec<Value<'a>>) {
        self.0.push((sql, params));
    }

    pub(super) fn steps(&self) -> Vec<Step<'_>> {
        self.0.iter().map(|(sql, params)| (*sql, params.as_slice())).collect()
    }
}

/// What is stored of tasks in their own rows.
pub(super) struct Columns<'a> {
    pub(super) id: Vec<Uuid>,
    lane: Vec<LaneId>,
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
    pub(super) fn of(tasks: &[&'a NewTask], lane: Vec<LaneId>) -> Self {
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

    /// The first parameters of a statement: the injected time, and these.
    pub(super) fn params<'s>(&'s self, now: &'s Option<i64>) -> Vec<Value<'s>> {
        let Self { id, lane, at, delay, expires, codec, payload, retries, timeout, tick } = self;
        vec![now, id, lane, at, delay, expires, codec, payload, retries, timeout, tick]
    }
}

/// What is stored of tasks for finding them.
pub(super) struct Tags<'a> {
    pub(super) id: Vec<Uuid>,
    key: Vec<&'a str>,
    value: Vec<&'a str>,
}

impl<'a> Tags<'a> {
    pub(super) fn of(tasks: impl Iterator<Item = (Uuid, &'a NewTask)>) -> Self {
        let mut tags = Self { id: Vec::new(), key: Vec::new(), value: Vec::new() };
        for (id, task) in tasks {
            for (key, value) in &task.tags {
                tags.id.push(id);
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
