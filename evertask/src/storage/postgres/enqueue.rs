//! ∅ → pending, and what a key makes of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{
    columns::{Columns, Tags, Value, only},
    connection::{Connection, Sql},
    error::Fault,
    lane::{Lane, LaneId},
    rings::Rings,
    row::{get, task_id},
    site::Site,
};
use crate::{
    storage::{Dispatched, Enqueued, NewTask, server::Gathered},
    task::TaskId,
};

const TYPES: &[Type] = &[
    Type::INT8,
    Type::UUID_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::INT4_ARRAY,
    Type::BYTEA_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::UUID_ARRAY,
];

// ∅ → pending, for tasks without keys. The id is unique, so a dispatch that is repeated inserts nothing, and no tags either.
const INSERT: Sql = Sql {
    text: "WITH clock AS MATERIALIZED (
            SELECT coalesce($1, (extract(epoch FROM clock_timestamp()) * 1000000)::int8) AS now
        ), stored AS (
            INSERT INTO tasks (id, lane, created_at, due_at, expires_at, codec, payload, retries, timeout, tick)
            SELECT n.id, n.lane, now, greatest(coalesce(n.at, now + n.delay), now), now + n.expires,
                n.codec, n.payload, n.retries, n.timeout, n.tick
            FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
                AS n (id, lane, at, delay, expires, codec, payload, retries, timeout, tick), clock
            ON CONFLICT (id) DO NOTHING
            RETURNING id, due_at
        ), tagged AS (
            INSERT INTO tags (id, key, value)
            SELECT t.id, t.key, t.value FROM unnest($12, $13, $14) AS t (id, key, value) JOIN stored USING (id)
            ON CONFLICT DO NOTHING
        )
        SELECT bool_or(due_at <= now), min(due_at - now) FILTER (WHERE due_at > now) FROM stored, clock",
    types: &[
        Type::INT8,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT4_ARRAY,
        Type::BYTEA_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::UUID_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
    ],
};

// Ids that are stored, and dispatches that have replaced a task. Finished ones included: the reply to a replacing dispatch may
// have been lost and the task have run since.
pub(super) const SEEN: Sql = Sql {
    text: "SELECT id, id FROM tasks WHERE id = ANY($1)
        UNION ALL SELECT request, id FROM tasks WHERE request = ANY($1) AND request <> id",
    types: &[Type::UUID_ARRAY],
};

// ∅ → pending, or pending → pending where a live task holds the key. If that one runs it is left as it is and not answered, but
// it is locked, so that it is still there when it is looked for.
const INSERT_KEYED: Sql = Sql {
    text: "INSERT INTO tasks (id, lane, created_at, due_at, expires_at, codec, payload, retries, timeout, tick, key_name, key, request)
        SELECT n.id, n.lane, now, greatest(coalesce(n.at, now + n.delay), now), now + n.expires,
            n.codec, n.payload, n.retries, n.timeout, n.tick, n.key_name, n.key, n.request
        FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
            AS n (id, lane, at, delay, expires, codec, payload, retries, timeout, tick, key_name, key, request),
            (SELECT coalesce($1, (extract(epoch FROM clock_timestamp()) * 1000000)::int8) AS now) AS clock
        ON CONFLICT (key_name, key) WHERE key IS NOT NULL AND state < 2 DO UPDATE SET
            lane = excluded.lane, due_at = excluded.due_at, expires_at = excluded.expires_at, codec = excluded.codec,
            payload = excluded.payload, retries = excluded.retries, timeout = excluded.timeout, tick = excluded.tick,
            request = excluded.request,
            spent = 0, unreadable = 0, losses = 0, lost_alone = 0, error = NULL
        WHERE tasks.state = 0
        RETURNING id, key_name, key, due_at - coalesce($1, (extract(epoch FROM clock_timestamp()) * 1000000)::int8)",
    types: TYPES,
};

// The live tasks that hold these keys.
pub(super) const HOLDERS: Sql = Sql {
    text: "SELECT t.id, t.key_name, t.key FROM unnest($1, $2) AS k (name, key)
        JOIN tasks AS t ON t.key_name = k.name AND t.key = k.key AND t.key IS NOT NULL AND t.state < 2",
    types: &[Type::TEXT_ARRAY, Type::TEXT_ARRAY],
};

const UNTAG: Sql = Sql { text: "DELETE FROM tags WHERE id = ANY($1)", types: &[Type::UUID_ARRAY] };

const TAG: Sql = Sql {
    text: "INSERT INTO tags (id, key, value) SELECT * FROM unnest($1, $2, $3)",
    types: &[Type::UUID_ARRAY, Type::TEXT_ARRAY, Type::TEXT_ARRAY],
};

/// Stores tasks that have been checked, for many callers in one transaction.
#[derive(Debug)]
pub(super) struct Enqueue;

impl Gathered<Site> for Enqueue {
    type Request = Vec<NewTask>;
    type Answer = Vec<Enqueued>;

    const DOING: &'static str = "cannot store tasks";

    fn rows(request: &Self::Request) -> usize {
        request.len()
    }

    async fn run(
        site: &Site,
        conn: &mut Connection,
        requests: &[&Self::Request],
    ) -> Result<Vec<Self::Answer>, Fault> {
        let tasks: Vec<&NewTask> = requests.iter().copied().flatten().collect();
        let lanes = site.numbers(conn, tasks.iter().map(|task| lane_of(task)).collect()).await?;
        let mut rings = Rings::default();
        let told = if tasks.iter().all(|task| task.key.is_none()) {
            insert(site, conn, &tasks, &lanes, true, &mut rings).await?;
            tasks.iter().map(|task| created(task)).collect()
        } else {
            conn.begin(&[]).await?;
            let told = write(site, conn, &tasks, &lanes, &mut rings).await?;
            conn.commit(&[]).await?;
            told
        };
        site.ring(rings);
        let mut told = told.into_iter();
        Ok(requests.iter().map(|request| told.by_ref().take(request.len()).collect()).collect())
    }
}

/// Stores tasks inside a transaction. Their lanes have been made before.
pub(super) async fn write(
    site: &Site,
    conn: &Connection,
    tasks: &[&NewTask],
    lanes: &[LaneId],
    rings: &mut Rings,
) -> Result<Vec<Enqueued>, Fault> {
    let mut plain = (Vec::new(), Vec::new());
    let mut keyed = Vec::new();
    for (at, (task, lane)) in tasks.iter().zip(lanes).enumerate() {
        if task.key.is_some() {
            keyed.push(at);
        } else {
            plain.0.push(*task);
            plain.1.push(*lane);
        }
    }
    let mut told: Vec<Enqueued> = tasks.iter().map(|task| created(task)).collect();
    if !plain.0.is_empty() {
        insert(site, conn, &plain.0, &plain.1, false, rings).await?;
    }
    if !keyed.is_empty() {
        write_keyed(site, conn, tasks, lanes, &keyed, &mut told, rings).await?;
    }
    Ok(told)
}

fn created(task: &NewTask) -> Enqueued {
    Enqueued { id: task.id, how: Dispatched::Created }
}

/// Stores tasks that have no keys, in a transaction or as one.
async fn insert(
    site: &Site,
    conn: &Connection,
    tasks: &[&NewTask],
    lanes: &[LaneId],
    alone: bool,
    rings: &mut Rings,
) -> Result<(), Fault> {
    let columns = Columns::of(tasks, lanes);
    let tags = Tags::of(tasks.iter().map(|task| (task.id, *task)));
    let now = site.injected();
    let (sql, mut params) = columns.with(&INSERT, &now);
    params.extend(tags.params());
    let rows = if alone {
        conn.one((sql, &params)).await?
    } else {
        only(conn.go_on(&[(sql, &params)]).await?)
    };
    if let Some(row) = rows.first() {
        if get::<Option<bool>>(row, 0)? == Some(true) {
            rings.work_in(0);
        }
        if let Some(due_in) = get(row, 1)? {
            rings.work_in(due_in);
        }
    }
    Ok(())
}

/// Stores the tasks at these places, all of which have keys.
///
/// Those of one key come down to one row: the id of the first and all else of the last, which is what storing them one after
/// the other would leave.
async fn write_keyed(
    site: &Site,
    conn: &Connection,
    tasks: &[&NewTask],
    lanes: &[LaneId],
    places: &[usize],
    told: &mut [Enqueued],
    rings: &mut Rings,
) -> Result<(), Fault> {
    let ids: Vec<Uuid> = places.iter().map(|at| *tasks[*at].id.as_uuid()).collect();
    let mut seen = HashMap::new();
    for row in only(conn.go_on(&[(&SEEN, &[&ids])]).await?) {
        seen.insert(task_id(&row, 0)?, task_id(&row, 1)?);
    }
    // Sorted, so that two batches wait for each other's keys in the same order.
    let mut groups: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    let mut twice = HashSet::new();
    for at in places.iter().copied() {
        let task = tasks[at];
        if let Some(id) = seen.get(&task.id) {
            let how = if *id == task.id { Dispatched::Created } else { Dispatched::Replaced };
            told[at] = Enqueued { id: *id, how };
        } else if twice.insert(task.id) {
            let key = task.key.as_deref().unwrap_or_default();
            groups.entry((&task.name, key)).or_default().push(at);
        }
    }
    let ends = |group: &Vec<usize>| group.first().copied().zip(group.last().copied());
    let (first, last): (Vec<usize>, Vec<usize>) = groups.values().filter_map(ends).unzip();
    if first.is_empty() {
        return Ok(());
    }
    let rows: Vec<&NewTask> = last.iter().map(|at| tasks[*at]).collect();
    let lanes: Vec<LaneId> = last.iter().map(|at| lanes[*at]).collect();
    let mut columns = Columns::of(&rows, &lanes);
    columns.id = first.iter().map(|at| *tasks[*at].id.as_uuid()).collect();
    let request: Vec<Uuid> = rows.iter().map(|task| *task.id.as_uuid()).collect();
    let (names, keys): (Vec<&str>, Vec<&str>) = groups.keys().copied().unzip();
    let now = site.injected();
    let (sql, mut params) = columns.with(&INSERT_KEYED, &now);
    params.extend([&names as Value<'_>, &keys, &request]);
    let written = only(conn.go_on(&[(sql, &params)]).await?);
    let mut holders: HashMap<(String, String), (TaskId, bool)> = HashMap::new();
    for row in &written {
        holders.insert((get(row, 1)?, get(row, 2)?), (task_id(row, 0)?, true));
        rings.work_in(get(row, 3)?);
    }
    if written.len() < groups.len() {
        for row in &only(conn.go_on(&[(&HOLDERS, &[&names, &keys])]).await?) {
            let key = (get(row, 1)?, get(row, 2)?);
            holders.entry(key).or_insert((task_id(row, 0)?, false));
        }
    }
    let mut replaced = Vec::new();
    let mut tagged = Vec::new();
    for ((name, key), group) in &groups {
        let held = holders.get(&((*name).to_owned(), (*key).to_owned()));
        let (id, pending) = *held.ok_or(Fault::Damaged("a key is held by no task"))?;
        for at in group {
            let how = match (tasks[*at].id == id, pending) {
                (true, _) => Dispatched::Created,
                (false, true) => Dispatched::Replaced,
                (false, false) => Dispatched::Existing,
            };
            told[*at] = Enqueued { id, how };
        }
        if let (true, Some((first, last))) = (pending, ends(group)) {
            if tasks[first].id != id {
                replaced.push(*id.as_uuid());
            }
            tagged.push((id, tasks[last]));
        }
    }
    if !replaced.is_empty() {
        conn.go_on(&[(&UNTAG, &[&replaced])]).await?;
    }
    let tags = Tags::of(tagged.into_iter());
    if !tags.id.is_empty() {
        conn.go_on(&[(&TAG, &tags.params())]).await?;
    }
    // The same id twice in one batch is told the same twice.
    let known: HashMap<TaskId, Enqueued> =
        groups.values().flatten().map(|at| (tasks[*at].id, told[*at])).collect();
    for at in places {
        if let Some(enqueued) = known.get(&tasks[*at].id) {
            told[*at] = *enqueued;
        }
    }
    Ok(())
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
