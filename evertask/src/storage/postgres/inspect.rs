//! Reads, for people: each in one snapshot, on connections of their own, none of them waits for a transition.

use std::{collections::BTreeMap, fmt::Write};

use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use super::{
    connection::{Connection, Sql},
    error::Fault,
    row::{body, count, end, get, optional_body, state, task_id, unsigned},
    site::{NOW, Site, now},
};
use crate::{
    bounds::PAGE_MAX,
    storage::{
        Backlog, Count, NodeInfo, Page, Roll, TaskFilter,
        clock::{from_micros, to_micros},
        numbers::state_number,
        rules,
        server::Transition,
    },
    task::{AttemptInfo, TaskId, TaskInfo, TaskState},
};

/// How far due tasks are counted.
const BACKLOG_COUNTED: i64 = 10_000;

macro_rules! columns {
    () => {
        "SELECT t.id, l.name, l.version, l.queue, l.priority, t.state, t.spent, t.lease, t.created_at, t.due_at,
            t.started_at, t.finished_at, t.expires_at, t.error, t.key, t.cancel_asked, t.losses, t.output_error,
            t.output_codec, t.output, t.codec, t.payload, t.tick, t.node,
            ARRAY(SELECT g.key FROM tags AS g WHERE g.id = t.id ORDER BY g.key),
            ARRAY(SELECT g.value FROM tags AS g WHERE g.id = t.id ORDER BY g.key)
        FROM tasks AS t JOIN lanes AS l ON l.lane = t.lane"
    };
}

const TASK: Sql = Sql { text: concat!(columns!(), " WHERE t.id = $1"), types: &[Type::UUID] };

const ATTEMPTS: Sql = Sql {
    text: r#"SELECT lease, attempt, node, "binary", started_at, ended_at, outcome, error, fingerprint
        FROM attempts WHERE id = $1 ORDER BY lease"#,
    types: &[Type::UUID],
};

const COUNTS: Sql = Sql {
    text: "SELECT l.queue, l.name, t.state, t.tasks
        FROM (SELECT lane, state, count(*) AS tasks FROM tasks GROUP BY lane, state) AS t JOIN lanes AS l USING (lane)",
    types: &[],
};

// Of each lane, however long it is, at most so many.
pub(super) const DUE: Sql = Sql {
    text: "SELECT l.queue, l.name, l.version, d.tasks, d.oldest FROM lanes AS l CROSS JOIN LATERAL (
            SELECT count(*) AS tasks, min(due_at) AS oldest FROM (
                SELECT t.due_at FROM tasks AS t WHERE t.state = 0 AND t.lane = l.lane AND t.due_at <= $1
                ORDER BY t.due_at LIMIT $2) AS due) AS d
        WHERE d.tasks > 0",
    types: &[Type::INT8, Type::INT8],
};

const NODES: Sql = Sql {
    text: r#"SELECT id, host, pid, "binary", handlers, queues, joined_at, beat_at, lease FROM nodes"#,
    types: &[],
};

#[derive(Debug)]
pub(super) struct ReadTask(pub(super) TaskId);

impl Transition<Site> for ReadTask {
    type Answer = Option<TaskInfo>;

    const DOING: &'static str = "cannot read a task";

    async fn run(&self, _site: &Site, conn: &mut Connection) -> Result<Option<TaskInfo>, Fault> {
        let id = self.0.as_uuid();
        let answers = conn.snapshot(&[(&TASK, &[id]), (&ATTEMPTS, &[id])]).await?;
        let [task, attempts] = answers.as_slice() else { return Ok(None) };
        let Some(row) = task.first() else { return Ok(None) };
        let attempts = attempts.iter().map(attempt).collect::<Result<_, _>>()?;
        Ok(Some(TaskInfo { attempts, ..info(row)? }))
    }
}

#[derive(Debug)]
pub(super) struct ListTasks {
    pub(super) filter: TaskFilter,
    pub(super) page: Page,
}

impl Transition<Site> for ListTasks {
    type Answer = Vec<TaskInfo>;

    const DOING: &'static str = "cannot list tasks";

    async fn run(&self, _site: &Site, conn: &mut Connection) -> Result<Vec<TaskInfo>, Fault> {
        let (sql, values) = listing(&self.filter, self.page);
        let params: Vec<(&(dyn ToSql + Sync), Type)> =
            values.iter().map(|(value, is)| (&**value as _, is.clone())).collect();
        conn.ask(&sql, &params).await?.iter().map(info).collect()
    }
}

type Values = Vec<(Box<dyn ToSql + Send + Sync>, Type)>;

/// The statement that lists what matches.
fn listing(filter: &TaskFilter, page: Page) -> (String, Values) {
    let TaskFilter { name, queue, state, tag, key_prefix, created_from, created_to, fingerprint } =
        filter;
    let mut sql = concat!(columns!(), " WHERE true").to_owned();
    let mut values: Values = Vec::new();
    let mut and = |condition: &str, given: Values| {
        let mut condition = condition.to_owned();
        for value in given {
            values.push(value);
            condition = condition.replacen('?', &format!("${}", values.len()), 1);
        }
        let _infallible = write!(sql, " AND {condition}");
    };
    let text = |text: &String| -> (Box<dyn ToSql + Send + Sync>, Type) {
        (Box::new(text.clone()), Type::TEXT)
    };
    let int = |int: i64| -> (Box<dyn ToSql + Send + Sync>, Type) { (Box::new(int), Type::INT8) };
    if let Some((key, value)) = tag {
        and(
            "EXISTS (SELECT 1 FROM tags AS g WHERE g.id = t.id AND g.key = ? AND g.value = ?)",
            vec![text(key), text(value)],
        );
    }
    if let Some(name) = name {
        and("l.name = ?", vec![text(name)]);
    }
    if let Some(queue) = queue {
        and("l.queue = ?", vec![text(queue)]);
    }
    if let Some(prefix) = key_prefix {
        and("t.key >= ?", vec![text(prefix)]);
        if let Some(end) = after_prefix(prefix) {
            and("t.key < ?", vec![text(&end)]);
        }
    }
    if let Some(from) = created_from {
        and("t.created_at >= ?", vec![int(to_micros(*from))]);
    }
    if let Some(to) = created_to {
        and("t.created_at < ?", vec![int(to_micros(*to))]);
    }
    if let Some(before) = page.before {
        and("t.id < ?", vec![(Box::new(*before.as_uuid()), Type::UUID)]);
    }
    if let Some(fingerprint) = fingerprint {
        and(
            "EXISTS (SELECT 1 FROM attempts AS a WHERE a.id = t.id AND a.fingerprint = ?)",
            vec![int(fingerprint.cast_signed())],
        );
    }
    if let Some(state) = state {
        // As literals, since an index over some states is only used for those that are spelled out.
        let number = state_number(*state);
        let unhappy = if number > 2 { " AND t.state > 2" } else { "" };
        and(&format!("t.state = {number}{unhappy}"), Vec::new());
    }
    let limit = page.limit.clamp(1, PAGE_MAX);
    let _infallible = write!(sql, " ORDER BY t.id DESC LIMIT {limit}");
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

#[derive(Debug)]
pub(super) struct Counts;

impl Transition<Site> for Counts {
    type Answer = Vec<Count>;

    const DOING: &'static str = "cannot count tasks";

    async fn run(&self, _site: &Site, conn: &mut Connection) -> Result<Vec<Count>, Fault> {
        // Lanes that differ in priority only are one line for people.
        let mut counts: BTreeMap<(String, String, i16), (TaskState, u64)> = BTreeMap::new();
        for row in &conn.one((&COUNTS, &[])).await? {
            let key = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
            counts.entry(key).or_insert((state(row, 2)?, 0)).1 += unsigned(row, 3)?;
        }
        let count = |((queue, name, _), (state, tasks))| Count { queue, name, state, tasks };
        Ok(counts.into_iter().map(count).collect())
    }
}

#[derive(Debug)]
pub(super) struct ReadBacklog;

impl Transition<Site> for ReadBacklog {
    type Answer = Vec<Backlog>;

    const DOING: &'static str = "cannot read the backlog";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Vec<Backlog>, Fault> {
        let now = now(&conn.one((&NOW, &[&site.injected()])).await?)?;
        let mut lines: BTreeMap<(String, String, u32), (u64, i64)> = BTreeMap::new();
        for row in &conn.one((&DUE, &[&now, &BACKLOG_COUNTED])).await? {
            let key = (get(row, 0)?, get(row, 1)?, count(row, 2)?);
            let (due, oldest) = (unsigned(row, 3)?, get::<i64>(row, 4)?);
            let line = lines.entry(key).or_insert((0, i64::MAX));
            let due = line.0.saturating_add(due).min(BACKLOG_COUNTED.unsigned_abs());
            *line = (due, line.1.min(oldest));
        }
        let backlog = |((queue, name, version), (due, oldest))| {
            let oldest = rules::between(oldest, now);
            Backlog { queue, name, version, due, oldest }
        };
        Ok(lines.into_iter().map(backlog).collect())
    }
}

#[derive(Debug)]
pub(super) struct ReadRoll;

impl Transition<Site> for ReadRoll {
    type Answer = Roll;

    const DOING: &'static str = "cannot look for nodes";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Roll, Fault> {
        let answers = conn.snapshot(&[(&NOW, &[&site.injected()]), (&NODES, &[])]).await?;
        let [time, nodes] = answers.as_slice() else {
            return Err(Fault::Damaged("an answer is missing"));
        };
        let now = now(time)?;
        let node = |row: &Row| {
            let info = NodeInfo {
                host: get(row, 1)?,
                pid: count(row, 2)?,
                binary: get(row, 3)?,
                ..NodeInfo::new(get(row, 0)?, from_micros(get(row, 6)?))
            };
            let lease = get::<Option<i64>>(row, 8)?.map(|lease| rules::between(0, lease));
            let info = info.with_trade(get(row, 4)?, get(row, 5)?);
            Ok(info.with_life(rules::between(get(row, 7)?, now), lease))
        };
        let nodes = nodes.iter().map(node).collect::<Result<_, Fault>>()?;
        Ok(Roll::new(from_micros(now), nodes))
    }
}

fn info(row: &Row) -> Result<TaskInfo, Fault> {
    let instant = |column| get::<i64>(row, column).map(from_micros);
    let maybe = |column| get::<Option<i64>>(row, column).map(|at| at.map(from_micros));
    let state = state(row, 5)?;
    let running = u32::from(state == TaskState::Running);
    let keys: Vec<String> = get(row, 24)?;
    let values: Vec<String> = get(row, 25)?;
    Ok(TaskInfo {
        id: task_id(row, 0)?,
        name: get(row, 1)?,
        version: count(row, 2)?,
        queue: get(row, 3)?,
        priority: get(row, 4)?,
        state,
        attempt: count(row, 6)?.saturating_add(running),
        lease: unsigned(row, 7)?,
        created: instant(8)?,
        due: instant(9)?,
        started: maybe(10)?,
        finished: maybe(11)?,
        expires: maybe(12)?,
        error: get(row, 13)?,
        key: get(row, 14)?,
        cancel_asked: get(row, 15)?,
        losses: count(row, 16)?,
        output_error: get(row, 17)?,
        output: optional_body(row, 18, 19)?,
        payload: body(row, 20, 21)?,
        tick: maybe(22)?,
        node: get(row, 23)?,
        tags: keys.into_iter().zip(values).collect(),
        attempts: Vec::new(),
    })
}

fn attempt(row: &Row) -> Result<AttemptInfo, Fault> {
    Ok(AttemptInfo {
        lease: unsigned(row, 0)?,
        attempt: count(row, 1)?,
        node: get(row, 2)?,
        binary: get(row, 3)?,
        started: from_micros(get(row, 4)?),
        ended: from_micros(get(row, 5)?),
        end: end(row, 6)?,
        error: get(row, 7)?,
        fingerprint: get::<Option<i64>>(row, 8)?.map(i64::cast_unsigned),
    })
}
