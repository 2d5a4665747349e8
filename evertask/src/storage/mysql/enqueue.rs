//! ∅ → pending, and what a key makes of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use mysql_async::Row;

use super::{
    connection::Connection,
    error::{Fault, cannot_take, is_duplicate},
    lane::{Lane, LaneId},
    literal::{List, Rows, Values},
    rings::Rings,
    row::{bytes, state, task_id},
    script::Script,
    site::{NOW, Site, now},
    written::{INSERT, INSERT_ONCE, INSERT_SIMPLE, Writes, is_simple, push, push_simple},
};
use crate::{
    storage::{
        Dispatched, Due, Enqueued, NewTask,
        server::{Gathered, Session, weight},
    },
    task::{TaskId, TaskState},
};

// Ids that are stored, and dispatches that have replaced a task. Finished ones included: the reply to a replacing dispatch may
// have been lost and the task have run since.
pub(super) const SEEN: &str = "SELECT id, id FROM {tasks} FORCE INDEX (PRIMARY) WHERE id IN ?
    UNION ALL SELECT request, id FROM {tasks} FORCE INDEX (requests) WHERE request IN ? AND request <> id";

// The live tasks that hold these keys; locked, so that they stay as they are. In the order of the index, so that two batches
// wait for each other's keys in the same order.
pub(super) const HOLDERS: &str = "SELECT live_key, id, state FROM {tasks} FORCE INDEX (live_keys) WHERE live_key IN ? FOR UPDATE";

/// Stores tasks that have been checked, for many callers in one transaction.
#[derive(Debug)]
pub(super) struct Enqueue;

impl Gathered<Site> for Enqueue {
    type Request = Vec<NewTask>;
    type Answer = Vec<Enqueued>;

    const DOING: &'static str = "cannot store tasks";

    fn rows(request: &Self::Request) -> usize {
        request.iter().map(|task| weight(task.payload.bytes.len())).sum()
    }

    async fn run(
        site: &Site,
        conn: &mut Connection,
        requests: &[&Self::Request],
    ) -> Result<Vec<Self::Answer>, Fault> {
        let tasks: Vec<&NewTask> = requests.iter().copied().flatten().collect();
        check_sizes(conn, &tasks)?;
        let lanes = site.numbers(conn, tasks.iter().map(|task| lane_of(task)).collect()).await?;
        let mut rings = Rings::default();
        let told = if tasks.iter().all(|task| task.key.is_none() && task.tags.is_empty()) {
            insert(site, conn, &tasks, &lanes, &mut rings).await?;
            tasks.iter().map(|task| created(task)).collect()
        } else {
            let looks = site.transaction();
            let (told, mut writes) = plan(site, conn, &tasks, &lanes, looks, &mut rings).await?;
            writes.add("COMMIT", &[]);
            conn.run(writes).await?;
            told
        };
        site.ring(rings);
        let mut told = told.into_iter();
        Ok(requests.iter().map(|request| told.by_ref().take(request.len()).collect()).collect())
    }
}

/// Refuses, before anything happens, what the server would refuse in the middle.
pub(super) fn check_sizes(conn: &Connection, tasks: &[&NewTask]) -> Result<(), Fault> {
    for task in tasks {
        // A byte takes two digits, at worst. Names, keys and tags are bounded.
        let size = task.payload.bytes.len() * 2 + (8 << 10);
        if size > conn.room() {
            let why = cannot_take(size, conn.room());
            let message = format!("the payload of task {} is too large: {why}", task.id);
            return Err(crate::storage::StorageError::new(why.kind(), message).into());
        }
    }
    Ok(())
}

fn created(task: &NewTask) -> Enqueued {
    Enqueued { id: task.id, how: Dispatched::Created }
}

/// Stores tasks that have neither keys nor tags, in one statement if they fit.
async fn insert(
    site: &Site,
    conn: &mut Connection,
    tasks: &[&NewTask],
    lanes: &[LaneId],
    rings: &mut Rings,
) -> Result<(), Fault> {
    let sql = if tasks.iter().all(|task| is_simple(task)) { INSERT_SIMPLE } else { INSERT };
    let now = match write(site, conn, tasks, lanes, sql).await {
        // Some are stored already, which is rare. Which ones the server does not say.
        Err(fault) if is_duplicate(&fault) => {
            conn.roll_back().await?;
            rings.again();
            write(site, conn, tasks, lanes, INSERT_ONCE).await?
        }
        done => done?,
    };
    tasks.iter().for_each(|task| rings.stored(task.due, now));
    Ok(())
}

/// Stores them by this statement, and tells what time it is if that matters to any of them.
async fn write(
    site: &Site,
    conn: &mut Connection,
    tasks: &[&NewTask],
    lanes: &[LaneId],
    sql: &'static str,
) -> Result<i64, Fault> {
    let mut rows = Rows::default();
    for (task, lane) in tasks.iter().zip(lanes) {
        match sql == INSERT_SIMPLE {
            true => push_simple(&mut rows, task, *lane),
            false => push(&mut rows, task.id, task, *lane, None),
        }
    }
    let parts: Vec<_> = rows.parts(conn.part()).collect();
    let alone = parts.len() == 1;
    let mut script = if alone { site.at_now() } else { site.transaction() };
    let timed = tasks.iter().any(|task| matches!(task.due, Due::At(_)));
    let time = timed.then(|| script.add(NOW, &[]));
    for part in parts {
        script.add(sql, &[&Values(part)]);
    }
    if !alone {
        script.add("COMMIT", &[]);
    }
    let answers = conn.run(script).await?;
    time.map_or(Ok(0), |time| now(answers.row(time)?))
}

/// The handler's name and the key, as one text: neither holds a zero.
pub(super) fn live_key(name: &str, key: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0", key.as_bytes()].concat()
}

/// Looks, at the end of this script, what these tasks meet, and gives what is still to be written in the same transaction.
/// Their lanes have been made before.
///
/// Those of one key come down to one row: the id of the first and all else of the last, which is what storing them one after
/// the other would leave.
pub(super) async fn plan(
    site: &Site,
    conn: &mut Connection,
    tasks: &[&NewTask],
    lanes: &[LaneId],
    mut looks: Script,
    rings: &mut Rings,
) -> Result<(Vec<Enqueued>, Script), Fault> {
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    let keys: Vec<Vec<u8>> = tasks.iter().filter_map(|task| key_of(task)).collect();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let holders = looks.add(HOLDERS, &[&List(&keys)]);
    let seen = looks.add(SEEN, &[&List(&ids), &List(&ids)]);
    let time = looks.add(NOW, &[]);
    let answers = conn.run(looks).await?;
    let now = now(answers.row(time)?)?;
    let (known, held) = (known(answers.rows(seen)?)?, held(answers.rows(holders)?)?);
    let (told, writes) = weigh(tasks, lanes, &known, &held);
    if !known.is_empty() {
        rings.again();
    }
    for due in &writes.due {
        rings.stored(*due, now);
    }
    let mut script = site.script();
    writes.insert(INSERT, &mut script, conn.part());
    writes.replace_and_tag(&mut script, conn.part());
    Ok((told, script))
}

/// Which of these ids are stored, or have replaced a task, and which task it is: what [`SEEN`] answered.
pub(super) fn known(rows: &[Row]) -> Result<HashMap<TaskId, TaskId>, Fault> {
    rows.iter().map(|row| Ok((task_id(row, 0)?, task_id(row, 1)?))).collect()
}

/// Which live task holds a key.
pub(super) type Held = HashMap<Vec<u8>, (TaskId, TaskState)>;

/// What [`HOLDERS`] answered.
pub(super) fn held(rows: &[Row]) -> Result<Held, Fault> {
    let holder = |row| Ok((bytes(row, 0)?.to_vec(), (task_id(row, 1)?, state(row, 2)?)));
    rows.iter().map(holder).collect()
}

/// The key of a task, as live ones are found by it.
pub(super) fn key_of(task: &NewTask) -> Option<Vec<u8>> {
    task.key.as_deref().map(|key| live_key(&task.name, key))
}

/// What is to be told of these tasks and to be written, where these ids are known and these keys are held.
pub(super) fn weigh(
    tasks: &[&NewTask],
    lanes: &[LaneId],
    known: &HashMap<TaskId, TaskId>,
    held: &Held,
) -> (Vec<Enqueued>, Writes) {
    let mut writes = Writes::default();
    let mut told: Vec<Enqueued> = tasks.iter().map(|task| created(task)).collect();
    // Sorted, so that two batches come to new keys in the same order.
    let mut groups: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    let mut twice = HashSet::new();
    for (at, task) in tasks.iter().enumerate() {
        if let Some(id) = known.get(&task.id) {
            let how = if *id == task.id { Dispatched::Created } else { Dispatched::Replaced };
            told[at] = Enqueued { id: *id, how };
        } else if twice.insert(task.id) {
            match key_of(task) {
                Some(key) => groups.entry(key).or_default().push(at),
                None => {
                    writes.add(task.id, task, lanes[at], None);
                }
            }
        }
    }
    for (key, group) in &groups {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let (task, lane) = (tasks[*last], lanes[*last]);
        let holder = held.get(key).copied();
        let (id, pending) = match holder {
            None => (tasks[*first].id, true),
            Some((id, state)) => (id, state == TaskState::Pending),
        };
        match holder {
            None => writes.add(id, task, lane, Some(key)),
            Some(_) if pending => writes.replace(id, task, lane),
            Some(_) => {}
        }
        for at in group {
            let how = match (tasks[*at].id == id, pending) {
                (true, _) => Dispatched::Created,
                (false, true) => Dispatched::Replaced,
                (false, false) => Dispatched::Existing,
            };
            told[*at] = Enqueued { id, how };
        }
    }
    // The same id twice in one batch is told the same twice.
    let mut first: HashMap<TaskId, Enqueued> = HashMap::new();
    for (task, told) in tasks.iter().zip(&mut told) {
        *told = *first.entry(task.id).or_insert(*told);
    }
    (told, writes)
}

pub(super) fn lane_of(task: &NewTask) -> Lane {
    Lane {
        queue: task.queue.clone(),
        name: task.name.clone(),
        version: task.version,
        priority: task.priority,
        suspect: false,
    }
}
