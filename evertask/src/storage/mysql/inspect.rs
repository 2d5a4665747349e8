//! Reads, for people: each in one snapshot, on connections of their own, none of them waits for a transition.

use std::collections::{BTreeMap, HashMap};

use mysql_async::Row;

use super::{
    connection::Connection,
    error::Fault,
    literal::{List, Literal},
    row::{
        body, count, end, maybe_number, maybe_text, maybe_uuid, number, optional_body, state,
        task_id, text, truth, unsigned, uuid,
    },
    script::Script,
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
const BACKLOG_COUNTED: u64 = 10_000;

/// In a transaction that sees one instant.
pub(super) const SNAPSHOT: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

macro_rules! columns {
    () => {
        "SELECT t.id, l.name, l.version, l.queue, l.priority, t.state, t.spent, t.lease, t.created_at, t.due_at,
            t.started_at, t.finished_at, t.expires_at, t.error, t.`key`, t.cancel_asked, t.losses, t.output_error,
            t.output_codec, t.output, t.codec, t.payload, t.tick, t.node
        FROM {tasks} AS t JOIN {lanes} AS l ON l.lane = t.lane"
    };
}

const TASK: &str = concat!(columns!(), " WHERE t.id = ?");

const TAGS: &str = "SELECT id, `key`, value FROM {tags} WHERE id IN ?";

const ATTEMPTS: &str =
    "SELECT lease, attempt, node, `binary`, started_at, ended_at, outcome, error, fingerprint
    FROM {attempts} WHERE id = ? ORDER BY lease";

const COUNTS: &str = "SELECT l.queue, l.name, t.state, t.tasks
    FROM (SELECT lane, state, COUNT(*) AS tasks FROM {tasks} GROUP BY lane, state) AS t JOIN {lanes} AS l ON l.lane = t.lane";

const LANES: &str = "SELECT lane, queue, name, version FROM {lanes} ORDER BY lane";

// However long the lane is, at most so many.
pub(super) const DUE: &str =
    "SELECT COUNT(*), MIN(due_at) FROM (SELECT due_at FROM {tasks} FORCE INDEX (pending)
    WHERE line = ? AND due_at <= ? ORDER BY due_at LIMIT ?) AS due";

const NODES: &str =
    "SELECT id, host, pid, `binary`, handlers, queues, joined_at, beat_at, lease FROM {nodes}";

#[derive(Debug)]
pub(super) struct ReadTask(pub(super) TaskId);

impl Transition<Site> for ReadTask {
    type Answer = Option<TaskInfo>;

    const DOING: &'static str = "cannot read a task";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Option<TaskInfo>, Fault> {
        let mut script = site.script();
        script.add(SNAPSHOT, &[]);
        let task = script.add(TASK, &[&self.0]);
        let tags = script.add(TAGS, &[&List(&[self.0])]);
        let attempts = script.add(ATTEMPTS, &[&self.0]);
        script.add("COMMIT", &[]);
        let answers = conn.run(script).await?;
        let Some(row) = answers.rows(task)?.first() else { return Ok(None) };
        let mut tags = tags_of(answers.rows(tags)?)?;
        let attempts = answers.rows(attempts)?.iter().map(attempt).collect::<Result<_, _>>()?;
        Ok(Some(TaskInfo { attempts, ..info(row, &mut tags)? }))
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

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Vec<TaskInfo>, Fault> {
        let mut script = site.script();
        script.add(SNAPSHOT, &[]);
        let listed = list(&mut script, &self.filter, self.page);
        let answers = conn.run(script).await?;
        let rows = answers.rows(listed)?;
        let ids = rows.iter().map(|row| task_id(row, 0)).collect::<Result<Vec<_>, _>>()?;
        let mut script = site.script();
        let tags = script.add(TAGS, &[&List(&ids)]);
        script.add("COMMIT", &[]);
        let of_tasks = conn.run(script).await?;
        let mut tags = tags_of(of_tasks.rows(tags)?)?;
        rows.iter().map(|row| info(row, &mut tags)).collect()
    }
}

/// Adds the statement that lists what matches.
fn list(script: &mut Script, filter: &TaskFilter, page: Page) -> usize {
    let TaskFilter { name, queue, state, tag, key_prefix, created_from, created_to, fingerprint } =
        filter;
    let mut sql = concat!(columns!(), " WHERE TRUE").to_owned();
    let mut values: Vec<Box<dyn Literal>> = Vec::new();
    let mut and = |condition: &str, given: Vec<Box<dyn Literal>>| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        values.extend(given);
    };
    let text = |text: &String| -> Box<dyn Literal> { Box::new(text.clone()) };
    if let Some((key, value)) = tag {
        and(
            "t.id IN (SELECT g.id FROM {tags} AS g WHERE g.`key` = ? AND g.value = ?)",
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
        and("t.`key` >= ?", vec![text(prefix)]);
        if let Some(end) = after_prefix(prefix) {
            and("t.`key` < ?", vec![text(&end)]);
        }
    }
    if let Some(from) = created_from {
        and("t.created_at >= ?", vec![Box::new(to_micros(*from))]);
    }
    if let Some(to) = created_to {
        and("t.created_at < ?", vec![Box::new(to_micros(*to))]);
    }
    if let Some(before) = page.before {
        and("t.id < ?", vec![Box::new(before)]);
    }
    if let Some(fingerprint) = fingerprint {
        and(
            "t.id IN (SELECT a.id FROM {attempts} AS a WHERE a.fingerprint = ?)",
            vec![Box::new(fingerprint.cast_signed())],
        );
    }
    if let Some(state) = state {
        let number = state_number(*state);
        // What went wrong is found by an index of its own.
        let column = if number > 2 { "t.unhappy = ?" } else { "t.state = ?" };
        and(column, vec![Box::new(number)]);
    }
    sql.push_str(" ORDER BY t.id DESC LIMIT ?");
    values.push(Box::new(page.limit.clamp(1, PAGE_MAX)));
    let values: Vec<&dyn Literal> = values.iter().map(AsRef::as_ref).collect();
    script.add(&sql, &values)
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

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Vec<Count>, Fault> {
        let mut script = site.script();
        let counted = script.add(COUNTS, &[]);
        let answers = conn.run(script).await?;
        // Lanes that differ in priority only are one line for people.
        let mut counts: BTreeMap<(&str, &str, i16), (TaskState, u64)> = BTreeMap::new();
        for row in answers.rows(counted)? {
            let key = (text(row, 0)?, text(row, 1)?, number(row, 2)?);
            counts.entry(key).or_insert((state(row, 2)?, 0)).1 += unsigned(row, 3)?;
        }
        let count = |((queue, name, _), (state, tasks)): ((&str, &str, i16), _)| Count {
            queue: queue.to_owned(),
            name: name.to_owned(),
            state,
            tasks,
        };
        Ok(counts.into_iter().map(count).collect())
    }
}

#[derive(Debug)]
pub(super) struct ReadBacklog;

impl Transition<Site> for ReadBacklog {
    type Answer = Vec<Backlog>;

    const DOING: &'static str = "cannot read the backlog";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Vec<Backlog>, Fault> {
        let mut script = site.at_now();
        script.add(SNAPSHOT, &[]);
        let time = script.add(NOW, &[]);
        let lanes = script.add(LANES, &[]);
        let looked = conn.run(script).await?;
        let now = now(looked.row(time)?)?;
        let lanes = looked.rows(lanes)?;
        let mut script = site.script();
        for lane in lanes {
            script.add(DUE, &[&number::<i64>(lane, 0)?, &now, &BACKLOG_COUNTED]);
        }
        script.add("COMMIT", &[]);
        let answers = conn.run(script).await?;
        let mut lines: BTreeMap<(&str, &str, u32), (u64, i64)> = BTreeMap::new();
        for (place, lane) in lanes.iter().enumerate() {
            let row = answers.row(place)?;
            let Some(oldest) = maybe_number::<i64>(row, 1)? else { continue };
            let key = (text(lane, 1)?, text(lane, 2)?, count(lane, 3)?);
            let line = lines.entry(key).or_insert((0, i64::MAX));
            let due = line.0.saturating_add(unsigned(row, 0)?).min(BACKLOG_COUNTED);
            *line = (due, line.1.min(oldest));
        }
        let backlog = |((queue, name, version), (due, oldest)): ((&str, &str, u32), _)| {
            let (queue, name) = (queue.to_owned(), name.to_owned());
            Backlog { queue, name, version, due, oldest: rules::between(oldest, now) }
        };
        Ok(lines.into_iter().map(backlog).collect())
    }
}

type Tags = HashMap<TaskId, BTreeMap<String, String>>;

fn tags_of(rows: &[Row]) -> Result<Tags, Fault> {
    let mut tags = Tags::new();
    for row in rows {
        let of_task = tags.entry(task_id(row, 0)?).or_default();
        of_task.insert(text(row, 1)?.to_owned(), text(row, 2)?.to_owned());
    }
    Ok(tags)
}

#[derive(Debug)]
pub(super) struct ReadRoll;

impl Transition<Site> for ReadRoll {
    type Answer = Roll;

    const DOING: &'static str = "cannot look for nodes";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Roll, Fault> {
        let mut script = site.at_now();
        let time = script.add(NOW, &[]);
        let nodes = script.add(NODES, &[]);
        let answers = conn.run(script).await?;
        let now = now(answers.row(time)?)?;
        let node = |row: &Row| {
            let maybe = |column| maybe_text(row, column).map(Option::unwrap_or_default);
            let info = NodeInfo {
                host: maybe(1)?.to_owned(),
                pid: count(row, 2)?,
                binary: maybe(3)?.to_owned(),
                ..NodeInfo::new(uuid(row, 0)?, from_micros(number(row, 6)?))
            };
            let lease = maybe_number(row, 8)?.map(|lease| rules::between(0, lease));
            let info = info.with_trade(maybe(4)?, maybe(5)?);
            Ok(info.with_life(rules::between(number(row, 7)?, now), lease))
        };
        let nodes = answers.rows(nodes)?.iter().map(node).collect::<Result<_, Fault>>()?;
        Ok(Roll::new(from_micros(now), nodes))
    }
}

fn info(row: &Row, tags: &mut Tags) -> Result<TaskInfo, Fault> {
    let instant = |column| number::<i64>(row, column).map(from_micros);
    let maybe = |column| maybe_number::<i64>(row, column).map(|at| at.map(from_micros));
    let owned = |column| maybe_text(row, column).map(|text| text.map(str::to_owned));
    let state = state(row, 5)?;
    let running = u32::from(state == TaskState::Running);
    let id = task_id(row, 0)?;
    Ok(TaskInfo {
        id,
        name: text(row, 1)?.to_owned(),
        version: count(row, 2)?,
        queue: text(row, 3)?.to_owned(),
        priority: number(row, 4)?,
        state,
        attempt: count(row, 6)?.saturating_add(running),
        lease: unsigned(row, 7)?,
        created: instant(8)?,
        due: instant(9)?,
        started: maybe(10)?,
        finished: maybe(11)?,
        expires: maybe(12)?,
        error: owned(13)?,
        key: owned(14)?,
        cancel_asked: truth(row, 15)?,
        losses: count(row, 16)?,
        output_error: owned(17)?,
        output: optional_body(row, 18, 19)?,
        payload: body(row, 20, 21)?,
        tick: maybe(22)?,
        node: maybe_uuid(row, 23)?,
        tags: tags.remove(&id).unwrap_or_default(),
        attempts: Vec::new(),
    })
}

fn attempt(row: &Row) -> Result<AttemptInfo, Fault> {
    Ok(AttemptInfo {
        lease: unsigned(row, 0)?,
        attempt: count(row, 1)?,
        node: uuid(row, 2)?,
        binary: text(row, 3)?.to_owned(),
        started: from_micros(number(row, 4)?),
        ended: from_micros(number(row, 5)?),
        end: end(row, 6)?,
        error: maybe_text(row, 7)?.map(str::to_owned),
        fingerprint: maybe_number::<i64>(row, 8)?.map(i64::cast_unsigned),
    })
}
