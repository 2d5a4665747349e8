//! Schedules: changed by compare-and-set together with their tasks, found by when they come up.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    batch::{Batch, SEEN, keyed_ids},
    columns::Value,
    connection::{Connection, Sql, Step},
    enqueue::lane_of,
    error::Fault,
    rings::Rings,
    row::{body, get, state},
    site::{NOW, Site, now},
};
use crate::{
    bounds::PAGE_MAX,
    storage::{
        DueSchedules, Known, NewTask, ScheduleChange, ScheduleChanged, SchedulePage, ScheduleRow,
        StoredSchedule,
        clock::{from_micros, to_micros},
        rules,
        server::Transition,
    },
    task::TaskId,
};

// From the revision it was at. Whoever waits here for another one finds another revision when it comes on.
pub(super) const SET: Sql = Sql {
    text: "UPDATE schedules AS s SET revision = c.revision, next_at = c.next_at, last = c.last, format = c.format,
            codec = c.codec, bytes = c.bytes
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)
            AS c (name, key, was, revision, next_at, last, format, codec, bytes)
        WHERE s.name = c.name AND s.key = c.key AND s.revision = c.was",
    types: &[
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::UUID_ARRAY,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::UUID_ARRAY,
        Type::INT4_ARRAY,
        Type::INT4_ARRAY,
        Type::BYTEA_ARRAY,
    ],
};

const ADD: Sql = Sql {
    text: "INSERT INTO schedules (name, key, revision, next_at, last, format, codec, bytes)
        SELECT c.name, c.key, c.revision, c.next_at, c.last, c.format, c.codec, c.bytes
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)
            AS c (name, key, was, revision, next_at, last, format, codec, bytes)
        WHERE c.was IS NULL ON CONFLICT (name, key) DO NOTHING",
    types: SET.types,
};

const REMOVE: Sql = Sql {
    text: "DELETE FROM schedules AS s USING unnest($1, $2, $3) AS c (name, key, was)
        WHERE s.name = c.name AND s.key = c.key AND s.revision = c.was",
    types: &[Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::UUID_ARRAY],
};

pub(super) const REVISIONS: Sql = Sql {
    text:
        "SELECT s.name, s.key, s.revision FROM schedules AS s JOIN unnest($1, $2) AS c (name, key)
        ON s.name = c.name AND s.key = c.key",
    types: &[Type::TEXT_ARRAY, Type::TEXT_ARRAY],
};

macro_rules! columns {
    () => {
        "SELECT s.name, s.key, s.revision, s.next_at, s.last, s.format, s.codec, s.bytes, t.state"
    };
}

const ONE: Sql = Sql {
    text: concat!(
        columns!(),
        " FROM schedules AS s LEFT JOIN tasks AS t ON t.id = s.last WHERE s.name = $1 AND s.key = $2"
    ),
    types: &[Type::TEXT, Type::TEXT],
};

const LIST: Sql = Sql {
    text: concat!(
        columns!(),
        " FROM schedules AS s LEFT JOIN tasks AS t ON t.id = s.last WHERE (s.name, s.key) > ($1, $2)
        ORDER BY s.name, s.key LIMIT $3"
    ),
    types: &[Type::TEXT, Type::TEXT, Type::INT8],
};

const LIST_OF: Sql = Sql {
    text: concat!(
        columns!(),
        " FROM schedules AS s LEFT JOIN tasks AS t ON t.id = s.last WHERE s.name = $1 AND s.key > $2
        ORDER BY s.key LIMIT $3"
    ),
    types: LIST.types,
};

// Of each handler, at most so many.
pub(super) const DUE: Sql = Sql {
    text: concat!(
        columns!(),
        " FROM unnest($1) AS n (name) CROSS JOIN LATERAL (
            SELECT * FROM schedules AS s WHERE s.name = n.name AND s.next_at <= $2 AND s.format <= $3
            ORDER BY s.next_at, s.key LIMIT $4) AS s
        LEFT JOIN tasks AS t ON t.id = s.last
        ORDER BY s.next_at, s.name, s.key LIMIT $4"
    ),
    types: &[Type::TEXT_ARRAY, Type::INT8, Type::INT4, Type::INT8],
};

pub(super) const LATER: Sql = Sql {
    text: "SELECT min(s.next_at) FROM unnest($1) AS n (name) CROSS JOIN LATERAL (
            SELECT s.next_at FROM schedules AS s WHERE s.name = n.name AND s.next_at > $2 AND s.format <= $3
            ORDER BY s.next_at, s.key LIMIT 1) AS s",
    types: &[Type::TEXT_ARRAY, Type::INT8, Type::INT4],
};

#[derive(Debug)]
pub(super) struct Change(pub(super) Vec<ScheduleChange>);

/// Changes turned on their side: one array for each column.
#[derive(Default)]
struct Columns<'c> {
    name: Vec<&'c str>,
    key: Vec<&'c str>,
    was: Vec<Option<Uuid>>,
    revision: Vec<Uuid>,
    next_at: Vec<Option<i64>>,
    last: Vec<Option<Uuid>>,
    format: Vec<i32>,
    codec: Vec<i32>,
    bytes: Vec<&'c [u8]>,
}

impl<'c> Columns<'c> {
    fn push(&mut self, change: &'c ScheduleChange, row: &'c ScheduleRow) {
        self.name.push(&change.name);
        self.key.push(&change.key);
        self.was.push(change.from);
        self.revision.push(change.revision);
        self.next_at.push(row.next.map(to_micros));
        self.last.push(row.last.map(|id| *id.as_uuid()));
        self.format.push(row.format.cast_signed());
        self.codec.push(row.body.codec.into());
        self.bytes.push(&row.body.bytes);
    }
}

impl Transition<Site> for Change {
    type Answer = Vec<ScheduleChanged>;

    const DOING: &'static str = "cannot change schedules";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Self::Answer, Fault> {
        let changes = &self.0;
        let tasks: Vec<&NewTask> = changes.iter().flat_map(|change| &change.tasks).collect();
        let lanes = site.numbers(conn, tasks.iter().map(|task| lane_of(task)).collect()).await?;
        let mut written = Columns::default();
        let mut removed = Columns::default();
        for change in changes {
            if let Some(row) = &change.to {
                written.push(change, row);
            } else {
                removed.name.push(&change.name);
                removed.key.push(&change.key);
                removed.was.push(change.from);
            }
        }
        let Columns { name, key, was, revision, next_at, last, format, codec, bytes } = &written;
        let values: [Value<'_>; 9] =
            [name, key, was, revision, next_at, last, format, codec, bytes];
        let names: Vec<&str> = changes.iter().map(|change| &*change.name).collect();
        let keys: Vec<&str> = changes.iter().map(|change| &*change.key).collect();
        let ids = keyed_ids(tasks.iter().copied());
        let steps: [Step<'_>; 5] = [
            (&SEEN, &[&ids]),
            (&SET, &values),
            (&ADD, &values),
            (&REMOVE, &[&removed.name, &removed.key, &removed.was]),
            (&REVISIONS, &[&names, &keys]),
        ];
        let answers = conn.begin(&steps).await?;
        let mut at: HashMap<(String, String), Uuid> = HashMap::new();
        for row in answers.last().into_iter().flatten() {
            at.insert((get(row, 0)?, get(row, 1)?), get(row, 2)?);
        }
        let done = |change: &ScheduleChange| {
            let at = at.get(&(change.name.as_ref().to_owned(), change.key.as_ref().to_owned()));
            match change.to {
                Some(_) => at == Some(&change.revision),
                None => at.is_none(),
            }
        };
        let mut of_done = (Vec::new(), Vec::new());
        let mut lane = lanes.iter();
        for change in changes {
            let lanes = lane.by_ref().take(change.tasks.len());
            if done(change) {
                of_done.0.extend(&change.tasks);
                of_done.1.extend(lanes.copied());
            } else {
                lanes.for_each(drop);
            }
        }
        let mut rings = Rings::default();
        rings.schedules = true;
        let seen = answers.first().map_or(&[][..], Vec::as_slice);
        let batch = Batch::of(of_done.0, &of_done.1, seen, site.injected())?;
        let answers = conn.commit(&batch.statements().steps()).await?;
        let told = batch.told(&answers, &mut rings)?;
        site.ring(rings);
        let mut told = told.into_iter();
        let answer = |change: &ScheduleChange| match done(change) {
            true => ScheduleChanged::Done(told.by_ref().take(change.tasks.len()).collect()),
            false => ScheduleChanged::Stale,
        };
        Ok(changes.iter().map(answer).collect())
    }
}

#[derive(Debug)]
pub(super) struct Due {
    pub(super) handlers: Arc<[Known]>,
    pub(super) format: u32,
    pub(super) limit: usize,
}

impl Transition<Site> for Due {
    type Answer = DueSchedules;

    const DOING: &'static str = "cannot look for schedules";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<DueSchedules, Fault> {
        let now = now(&conn.one((&NOW, &[&site.injected()])).await?)?;
        let names: BTreeSet<&str> = self.handlers.iter().map(|known| &*known.name).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let limit = self.limit.clamp(1, PAGE_MAX);
        let more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
        let format = self.format.cast_signed();
        let steps: [Step<'_>; 2] =
            [(&DUE, &[&names, &now, &format, &more]), (&LATER, &[&names, &now, &format])];
        let answers = conn.snapshot(&steps).await?;
        let [due, later] = answers.as_slice() else {
            return Err(Fault::Damaged("an answer is missing"));
        };
        let mut due = due.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
        let left_over = (due.len() > limit).then_some(now);
        due.truncate(limit);
        let later = later.first().map(|row| get::<Option<i64>>(row, 0)).transpose()?.flatten();
        let next_in = left_over.or(later).map(|at| rules::between(now, at));
        Ok(DueSchedules { now: from_micros(now), due, next_in })
    }
}

#[derive(Debug)]
pub(super) struct ReadOne {
    pub(super) name: String,
    pub(super) key: String,
}

impl Transition<Site> for ReadOne {
    type Answer = Option<StoredSchedule>;

    const DOING: &'static str = "cannot read a schedule";

    async fn run(&self, _site: &Site, conn: &mut Connection) -> Result<Self::Answer, Fault> {
        conn.one((&ONE, &[&self.name, &self.key])).await?.first().map(stored).transpose()
    }
}

#[derive(Debug)]
pub(super) struct List(pub(super) SchedulePage);

impl Transition<Site> for List {
    type Answer = Vec<StoredSchedule>;

    const DOING: &'static str = "cannot list schedules";

    async fn run(&self, _site: &Site, conn: &mut Connection) -> Result<Self::Answer, Fault> {
        let SchedulePage { name, after, limit } = &self.0;
        let limit = i64::try_from((*limit).clamp(1, PAGE_MAX)).unwrap_or(i64::MAX);
        let (after_name, after_key) = after.clone().unwrap_or_default();
        let step: Step<'_> = match name {
            Some(name) if after_name > *name => return Ok(Vec::new()),
            Some(name) if after_name < *name => (&LIST_OF, &[name, &"", &limit]),
            Some(name) => (&LIST_OF, &[name, &after_key, &limit]),
            None => (&LIST, &[&after_name, &after_key, &limit]),
        };
        conn.one(step).await?.iter().map(stored).collect()
    }
}

fn stored(row: &Row) -> Result<StoredSchedule, Fault> {
    let schedule = ScheduleRow {
        name: get::<&str>(row, 0)?.into(),
        key: get::<&str>(row, 1)?.into(),
        next: get::<Option<i64>>(row, 3)?.map(from_micros),
        last: get::<Option<Uuid>>(row, 4)?.map(TaskId::from_uuid),
        format: get::<i32>(row, 5)?.cast_unsigned(),
        body: body(row, 6, 7)?,
    };
    let last_state = get::<Option<i16>>(row, 8)?.map(|_| state(row, 8)).transpose()?;
    Ok(StoredSchedule::new(schedule, get(row, 2)?, last_state))
}
