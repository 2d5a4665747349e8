//! Schedules: changed by compare-and-set together with their tasks, found by when they come up.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use mysql_async::Row;
use uuid::Uuid;

use super::{
    connection::Connection,
    enqueue::{self, lane_of},
    error::Fault,
    lane::LaneId,
    literal::{Rows, Values},
    rings::Rings,
    row::{body, count, maybe_number, maybe_uuid, number, state, text, uuid},
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

// Each locked by its own, in order of name and key, so that two batches wait for each other in the same order.
pub(super) const AT: &str = "SELECT name, `key`, revision FROM {schedules} FORCE INDEX (PRIMARY) WHERE name = ? AND `key` = ? FOR UPDATE";

// The rows are locked, and their revision has been looked at. Should another one store one of those that are not there at this
// moment, the two collide, and this one looks again.
const SET: &str = "INSERT INTO {schedules} (name, `key`, revision, next_at, last, format, codec, bytes) VALUES ?
    ON DUPLICATE KEY UPDATE revision = VALUES(revision), next_at = VALUES(next_at), last = VALUES(last),
        format = VALUES(format), codec = VALUES(codec), bytes = VALUES(bytes)";
const ADD: &str =
    "INSERT INTO {schedules} (name, `key`, revision, next_at, last, format, codec, bytes) VALUES ?";

const REMOVE: &str = "DELETE FROM {schedules} WHERE name = ? AND `key` = ?";

macro_rules! columns {
    () => {
        "SELECT s.name, s.`key`, s.revision, s.next_at, s.last, s.format, s.codec, s.bytes, t.state FROM "
    };
}

const ONE: &str = concat!(
    columns!(),
    "{schedules} AS s LEFT JOIN {tasks} AS t ON t.id = s.last WHERE s.name = ? AND s.`key` = ?"
);

const LIST: &str = concat!(
    columns!(),
    "{schedules} AS s LEFT JOIN {tasks} AS t ON t.id = s.last WHERE s.name > ? OR (s.name = ? AND s.`key` > ?)
    ORDER BY s.name, s.`key` LIMIT ?"
);

const LIST_OF: &str = concat!(
    columns!(),
    "{schedules} AS s LEFT JOIN {tasks} AS t ON t.id = s.last WHERE s.name = ? AND s.`key` > ? ORDER BY s.`key` LIMIT ?"
);

// Of one handler, at most so many.
pub(super) const DUE: &str = concat!(
    columns!(),
    "(SELECT * FROM {schedules} FORCE INDEX (upcoming) WHERE name = ? AND next_at <= ? AND format <= ?
        ORDER BY next_at, `key` LIMIT ?) AS s LEFT JOIN {tasks} AS t ON t.id = s.last"
);

pub(super) const LATER: &str = "SELECT next_at FROM {schedules} FORCE INDEX (upcoming)
    WHERE name = ? AND next_at > ? AND format <= ? ORDER BY next_at, `key` LIMIT 1";

#[derive(Debug)]
pub(super) struct Change(pub(super) Vec<ScheduleChange>);

impl Transition<Site> for Change {
    type Answer = Vec<ScheduleChanged>;

    const DOING: &'static str = "cannot change schedules";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Self::Answer, Fault> {
        let changes = &self.0;
        let tasks: Vec<&NewTask> = changes.iter().flat_map(|change| &change.tasks).collect();
        enqueue::check_sizes(conn, &tasks)?;
        let lanes = site.numbers(conn, tasks.iter().map(|task| lane_of(task)).collect()).await?;
        let mut at = look(site, conn, changes).await?;
        let (mut set, mut add) = (Rows::default(), Rows::default());
        let mut script = site.script();
        let mut done = Vec::with_capacity(changes.len());
        for change in changes {
            let at = at.remove(&(&*change.name, &*change.key));
            let repeated = match change.to {
                Some(_) => at == Some(change.revision),
                None => at.is_none(),
            };
            done.push(repeated || at == change.from);
            if repeated || at != change.from {
                continue;
            }
            match &change.to {
                Some(row) if at.is_some() => push(&mut set, change.revision, row),
                Some(row) => push(&mut add, change.revision, row),
                None => {
                    script.add(REMOVE, &[&&*change.name, &&*change.key]);
                }
            }
        }
        for (sql, rows) in [(SET, set), (ADD, add)] {
            for part in rows.parts(conn.part()) {
                script.add(sql, &[&Values(part)]);
            }
        }
        let (tasks, lanes) = of_done(changes, &done, &lanes);
        let mut rings = Rings::default();
        rings.schedules = true;
        let mut told = Vec::new();
        if !tasks.is_empty() {
            (told, script) = enqueue::plan(site, conn, &tasks, &lanes, script, &mut rings).await?;
        }
        script.add("COMMIT", &[]);
        conn.run(script).await?;
        site.ring(rings);
        let mut told = told.into_iter();
        let answer = |(change, done): (&ScheduleChange, bool)| match done {
            true => ScheduleChanged::Done(told.by_ref().take(change.tasks.len()).collect()),
            false => ScheduleChanged::Stale,
        };
        Ok(changes.iter().zip(done).map(answer).collect())
    }
}

/// Begins a transaction and locks the schedules that are there; gives the revision of each.
async fn look<'c>(
    site: &Site,
    conn: &mut Connection,
    changes: &'c [ScheduleChange],
) -> Result<HashMap<(&'c str, &'c str), Uuid>, Fault> {
    let identities = changes.iter().map(|change| (&*change.name, &*change.key));
    let identities: BTreeSet<(&str, &str)> = identities.collect();
    let mut script = site.transaction();
    let places: Vec<usize> =
        identities.iter().map(|(name, key)| script.add(AT, &[name, key])).collect();
    let answers = conn.run(script).await?;
    let mut at = HashMap::new();
    for (identity, place) in identities.into_iter().zip(places) {
        if let Some(row) = answers.rows(place)?.first() {
            at.insert(identity, uuid(row, 2)?);
        }
    }
    Ok(at)
}

fn push(rows: &mut Rows, revision: Uuid, row: &ScheduleRow) {
    rows.push(&[
        &&*row.name,
        &&*row.key,
        &revision,
        &row.next.map(to_micros),
        &row.last,
        &row.format,
        &row.body.codec,
        &&*row.body.bytes,
    ]);
}

/// The tasks of those changes that happen, with their lanes.
fn of_done<'c>(
    changes: &'c [ScheduleChange],
    done: &[bool],
    lanes: &[LaneId],
) -> (Vec<&'c NewTask>, Vec<LaneId>) {
    let happens = changes
        .iter()
        .zip(done)
        .flat_map(|(change, done)| change.tasks.iter().map(move |task| (task, *done)));
    let kept = happens.zip(lanes).filter(|((_, done), _)| *done);
    kept.map(|((task, _), lane)| (task, *lane)).unzip()
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
        site.watch.schedules(self.handlers.iter().map(|known| known.name.to_string()), self.format);
        let mut script = site.at_now();
        let time = script.add(NOW, &[]);
        let now = now(conn.run(script).await?.row(time)?)?;
        let names: BTreeSet<&str> = self.handlers.iter().map(|known| &*known.name).collect();
        let limit = self.limit.clamp(1, PAGE_MAX);
        let mut script = site.script();
        let mut places = Vec::new();
        for name in &names {
            let due = script.add(DUE, &[name, &now, &self.format, &(limit + 1)]);
            places.push((due, script.add(LATER, &[name, &now, &self.format])));
        }
        let answers = conn.run(script).await?;
        let (mut due, mut later) = (Vec::new(), None::<i64>);
        for (of_name, next) in places {
            for row in answers.rows(of_name)? {
                due.push(stored(row)?);
            }
            if let Some(row) = answers.rows(next)?.first() {
                let at = number(row, 0)?;
                later = Some(later.map_or(at, |sooner| sooner.min(at)));
            }
        }
        due.sort_by(|one: &StoredSchedule, other| {
            let order =
                |it: &StoredSchedule| (it.row.next, it.row.name.clone(), it.row.key.clone());
            order(one).cmp(&order(other))
        });
        let left_over = (due.len() > limit).then_some(now);
        due.truncate(limit);
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

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Self::Answer, Fault> {
        let mut script = site.script();
        let one = script.add(ONE, &[&self.name, &self.key]);
        conn.run(script).await?.rows(one)?.first().map(stored).transpose()
    }
}

#[derive(Debug)]
pub(super) struct List(pub(super) SchedulePage);

impl Transition<Site> for List {
    type Answer = Vec<StoredSchedule>;

    const DOING: &'static str = "cannot list schedules";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Self::Answer, Fault> {
        let SchedulePage { name, after, limit } = &self.0;
        let limit = (*limit).clamp(1, PAGE_MAX);
        let (after_name, after_key) = after.clone().unwrap_or_default();
        let mut script = site.script();
        let listed = match name {
            Some(name) if after_name > *name => return Ok(Vec::new()),
            Some(name) if after_name < *name => script.add(LIST_OF, &[name, &"", &limit]),
            Some(name) => script.add(LIST_OF, &[name, &after_key, &limit]),
            None => script.add(LIST, &[&after_name, &after_name, &after_key, &limit]),
        };
        conn.run(script).await?.rows(listed)?.iter().map(stored).collect()
    }
}

fn stored(row: &Row) -> Result<StoredSchedule, Fault> {
    let schedule = ScheduleRow {
        name: text(row, 0)?.into(),
        key: text(row, 1)?.into(),
        next: maybe_number::<i64>(row, 3)?.map(from_micros),
        last: maybe_uuid(row, 4)?.map(TaskId::from_uuid),
        format: count(row, 5)?,
        body: body(row, 6, 7)?,
    };
    let last_state = maybe_number::<i64>(row, 8)?.map(|_| state(row, 8)).transpose()?;
    Ok(StoredSchedule::new(schedule, uuid(row, 2)?, last_state))
}
