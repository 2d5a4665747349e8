//! New tasks on their way into one transaction: what is asked before, what is written, and what came of it.
//!
//! Whatever keys they have, they take one look and one write. So what depends on which task holds a key is found out by the
//! statements, as they come one after the other, and not here in between.

use std::collections::{BTreeMap, HashMap, HashSet};

use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    columns::{Columns, Statements, Tags, Value},
    connection::Sql,
    error::Fault,
    lane::LaneId,
    rings::Rings,
    row::{get, task_id},
};
use crate::{
    storage::{Dispatched, Enqueued, NewTask},
    task::TaskId,
};

// Ids that are stored, and dispatches that have replaced a task. Finished ones included: the reply to a replacing dispatch may
// have been lost and the task have run since.
pub(super) const SEEN: Sql = Sql {
    text: "SELECT id, id FROM tasks WHERE id = ANY($1)
        UNION ALL SELECT request, id FROM tasks WHERE request = ANY($1) AND request <> id",
    types: &[Type::UUID_ARRAY],
};

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
        SELECT count(*), bool_or(due_at <= now), min(due_at - now) FILTER (WHERE due_at > now) FROM stored, clock",
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

// ∅ → pending, or pending → pending where a live task holds the key. If that one runs it is left as it is, but it is locked, so
// that it is still there when it is looked for.
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
        WHERE tasks.state = 0",
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
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::UUID_ARRAY,
    ],
};

// The tags of what was just written. A task remembers the dispatch that wrote it last, and is found by it; one that runs, and was
// left as it is, is not.
pub(super) const UNTAG: Sql = Sql {
    text: "DELETE FROM tags USING tasks AS t WHERE t.request = ANY($1) AND tags.id = t.id",
    types: &[Type::UUID_ARRAY],
};

pub(super) const TAG: Sql = Sql {
    text: "INSERT INTO tags (id, key, value)
        SELECT t.id, g.key, g.value FROM unnest($1, $2, $3) AS g (request, key, value) JOIN tasks AS t ON t.request = g.request",
    types: &[Type::UUID_ARRAY, Type::TEXT_ARRAY, Type::TEXT_ARRAY],
};

// The live tasks that hold these keys now, whether it was these dispatches that wrote them, and in how long they are due.
pub(super) const HOLDERS: Sql = Sql {
    text: "SELECT k.place - 1, t.id, t.request = k.request, t.due_at - coalesce($1, (extract(epoch FROM clock_timestamp()) * 1000000)::int8)
        FROM unnest($2, $3, $4) WITH ORDINALITY AS k (name, key, request, place)
        JOIN tasks AS t ON t.key_name = k.name AND t.key = k.key AND t.key IS NOT NULL AND t.state < 2",
    types: &[Type::INT8, Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::UUID_ARRAY],
};

/// The ids of those that have keys: what [`SEEN`] is to be asked, in the same transaction and before.
pub(super) fn keyed_ids<'t>(tasks: impl IntoIterator<Item = &'t NewTask>) -> Vec<Uuid> {
    let keyed = tasks.into_iter().filter(|task| task.key.is_some());
    keyed.map(|task| *task.id.as_uuid()).collect()
}

/// Tasks that have been checked and whose lanes there are.
pub(super) struct Batch<'t> {
    tasks: Vec<&'t NewTask>,
    now: Option<i64>,
    /// What is to be told, as far as it is known.
    told: Vec<Enqueued>,
    /// Some were stored before.
    repeated: bool,
    plain: Columns<'t>,
    plain_tags: Tags<'t>,
    keyed: Keyed<'t>,
}

/// Those of one key come down to one row: the id of the first and all else of the last, which is what storing them one after
/// the other would leave.
struct Keyed<'t> {
    /// Which tasks of the batch have each key, by their places.
    groups: Vec<Vec<usize>>,
    columns: Columns<'t>,
    name: Vec<&'t str>,
    key: Vec<&'t str>,
    request: Vec<Uuid>,
    tags: Tags<'t>,
}

impl<'t> Batch<'t> {
    /// `seen` is what [`SEEN`] answered, and `now` the injected time.
    pub(super) fn of(
        tasks: Vec<&'t NewTask>,
        lanes: &[LaneId],
        seen: &[Row],
        now: Option<i64>,
    ) -> Result<Self, Fault> {
        let mut known: HashMap<TaskId, TaskId> = HashMap::new();
        for row in seen {
            known.insert(task_id(row, 0)?, task_id(row, 1)?);
        }
        let created = |task: &&NewTask| Enqueued { id: task.id, how: Dispatched::Created };
        let mut told: Vec<Enqueued> = tasks.iter().map(created).collect();
        let mut plain = (Vec::new(), Vec::new());
        // Sorted, so that two batches wait for each other's keys in the same order.
        let mut groups: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        let mut twice = HashSet::new();
        for (at, task) in tasks.iter().enumerate() {
            if let Some(id) = known.get(&task.id) {
                let how = if *id == task.id { Dispatched::Created } else { Dispatched::Replaced };
                told[at] = Enqueued { id: *id, how };
            } else if let Some(key) = &task.key {
                if twice.insert(task.id) {
                    groups.entry((&task.name, key)).or_default().push(at);
                }
            } else {
                plain.0.push(*task);
                plain.1.push(lanes[at]);
            }
        }
        let plain_tags = Tags::of(plain.0.iter().map(|task| (*task.id.as_uuid(), *task)));
        let (repeated, keyed) = (!known.is_empty(), Keyed::of(&tasks, lanes, groups));
        let plain = Columns::of(&plain.0, plain.1);
        Ok(Self { tasks, now, told, repeated, plain, plain_tags, keyed })
    }

    /// All that is to be written, and the question what came of it.
    pub(super) fn statements(&self) -> Statements<'_> {
        let mut statements = Statements::default();
        if !self.plain.id.is_empty() {
            let mut params = self.plain.params(&self.now);
            params.extend(self.plain_tags.params());
            statements.add(&INSERT, params);
        }
        let Keyed { columns, name, key, request, tags, .. } = &self.keyed;
        if !columns.id.is_empty() {
            let mut params = columns.params(&self.now);
            params.extend([name as Value<'_>, key, request]);
            statements.add(&INSERT_KEYED, params);
            statements.add(&UNTAG, vec![request]);
            if !tags.id.is_empty() {
                statements.add(&TAG, tags.params().into());
            }
            statements.add(&HOLDERS, vec![&self.now, name, key, request]);
        }
        statements
    }

    /// What is to be told of each task, by what the statements answered.
    pub(super) fn told(
        mut self,
        answers: &[Vec<Row>],
        rings: &mut Rings,
    ) -> Result<Vec<Enqueued>, Fault> {
        if self.repeated {
            rings.again();
        }
        if !self.plain.id.is_empty() {
            let row = answers.first().and_then(|rows| rows.first());
            let row = row.ok_or(Fault::Damaged("an insertion is not answered"))?;
            let stored: i64 = get(row, 0)?;
            if stored != i64::try_from(self.plain.id.len()).unwrap_or(i64::MAX) {
                rings.again();
            }
            if get::<Option<bool>>(row, 1)? == Some(true) {
                rings.work_in(0);
            }
            if let Some(due_in) = get(row, 2)? {
                rings.work_in(due_in);
            }
        }
        if !self.keyed.groups.is_empty() {
            self.keyed_told(answers.last().map_or(&[], Vec::as_slice), rings)?;
        }
        Ok(self.told)
    }

    fn keyed_told(&mut self, holders: &[Row], rings: &mut Rings) -> Result<(), Fault> {
        let groups = &self.keyed.groups;
        let mut answered = 0;
        // The same id twice in one batch is told the same twice.
        let mut known: HashMap<TaskId, Enqueued> = HashMap::new();
        for row in holders {
            let (place, id, ours): (i64, _, bool) = (get(row, 0)?, task_id(row, 1)?, get(row, 2)?);
            let group = usize::try_from(place).ok().and_then(|place| groups.get(place));
            let group = group.ok_or(Fault::Damaged("a key is held that was not asked for"))?;
            if ours {
                rings.work_in(get(row, 3)?);
            }
            for at in group {
                let how = match (self.tasks[*at].id == id, ours) {
                    (true, _) => Dispatched::Created,
                    (false, true) => Dispatched::Replaced,
                    (false, false) => Dispatched::Existing,
                };
                known.insert(self.tasks[*at].id, Enqueued { id, how });
            }
            answered += 1;
        }
        if answered < groups.len() {
            return Err(Fault::Damaged("a key is held by no task"));
        }
        for (task, told) in self.tasks.iter().zip(&mut self.told) {
            if let Some(enqueued) = known.get(&task.id) {
                *told = *enqueued;
            }
        }
        Ok(())
    }
}

impl<'t> Keyed<'t> {
    fn of(
        tasks: &[&'t NewTask],
        lanes: &[LaneId],
        groups: BTreeMap<(&'t str, &'t str), Vec<usize>>,
    ) -> Self {
        let (mut name, mut key, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let (mut first, mut last, mut lane) = (Vec::new(), Vec::new(), Vec::new());
        for (of, group) in groups {
            if let (Some(a), Some(z)) = (group.first(), group.last()) {
                first.push(*tasks[*a].id.as_uuid());
                last.push(tasks[*z]);
                lane.push(lanes[*z]);
                name.push(of.0);
                key.push(of.1);
                places.push(group);
            }
        }
        let request: Vec<Uuid> = last.iter().map(|task| *task.id.as_uuid()).collect();
        let tags = Tags::of(last.iter().map(|task| (*task.id.as_uuid(), *task)));
        let mut columns = Columns::of(&last, lane);
        columns.id = first;
        Self { groups: places, columns, name, key, request, tags }
    }
}
