//! Lanes: the lines in which pending tasks wait, and what this process knows of them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use mysql_async::Row;

use super::{
    connection::Connection,
    error::Fault,
    row::{count, number, text, truth},
    site::Site,
};
use crate::storage::handlers::Handlers;

/// The number of a lane.
pub(super) type LaneId = i64;

/// One line of tasks that are equal in all that a claim asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    pub(super) queue: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) version: u32,
    pub(super) priority: i16,
    pub(super) suspect: bool,
}

/// Lanes that others have made since: numbers grow in the order in which they become visible.
pub(super) const NEW: &str = "SELECT lane, queue, name, version, priority, suspect FROM {lanes} WHERE lane > ? ORDER BY lane";

// Who has locked this row gives out numbers, and nobody else does until they are visible. Claims are not kept from reading.
const LOCK: &str = "SELECT version FROM {migrations} WHERE version = 1 FOR UPDATE";

const MAKE: &str = "INSERT INTO {lanes} (lane, queue, name, version, priority, suspect)
    SELECT new.lane, ?, ?, ?, ?, ? FROM (SELECT COALESCE(MAX(lane), 0) + 1 AS lane FROM {lanes}) AS new
    ON DUPLICATE KEY UPDATE version = VALUES(version)";

/// All lanes that are known. They are never deleted or changed, so what is known stays true, for as long as the server keeps
/// what was committed. One that was restored, or took over from another, may have lost the last ones: see
/// [`recall`](Lanes::recall).
#[derive(Debug, Default)]
pub(super) struct Lanes {
    known: HashMap<LaneId, Arc<Lane>>,
    numbers: HashMap<Arc<Lane>, LaneId>,
    by_queue: HashMap<Arc<str>, BTreeMap<Reverse<i16>, Vec<LaneId>>>,
    last: LaneId,
}

impl Lanes {
    pub(super) fn get(&self, id: LaneId) -> Option<&Arc<Lane>> {
        self.known.get(&id)
    }

    pub(super) fn number(&self, lane: &Lane) -> Option<LaneId> {
        self.numbers.get(lane).copied()
    }

    /// The highest number that is known, up to which all are.
    pub(super) fn last(&self) -> LaneId {
        self.last
    }

    /// Learns what [`NEW`] answered.
    pub(super) fn learn(&mut self, rows: &[Row]) -> Result<(), Fault> {
        for row in rows {
            let id = number(row, 0)?;
            if self.known.contains_key(&id) {
                continue;
            }
            let lane = Arc::new(lane(row)?);
            let lanes = self.by_queue.entry(lane.queue.clone()).or_default();
            lanes.entry(Reverse(lane.priority)).or_default().push(id);
            self.numbers.insert(lane.clone(), id);
            self.known.insert(id, lane);
            self.last = self.last.max(id);
        }
        Ok(())
    }

    /// Learns what all lanes are on a connection that was made anew, when those up to `last` were known. False if some of these are
    /// gone or others have their numbers; then nothing is known but what is there now.
    pub(super) fn recall(&mut self, rows: &[Row], last: LaneId) -> Result<bool, Fault> {
        let mut there = Self::default();
        there.learn(rows)?;
        let still = |(id, lane): (&LaneId, &Arc<Lane>)| *id > last || there.get(*id) == Some(lane);
        if self.known.iter().all(still) {
            self.learn(rows)?;
            return Ok(true);
        }
        *self = there;
        Ok(false)
    }

    /// The lanes of a queue that hold tasks of these handlers: those of the highest priority first, each priority together.
    pub(super) fn served(
        &self,
        queue: &str,
        handlers: &Handlers<'_>,
        suspect: bool,
    ) -> Vec<Vec<LaneId>> {
        let serves = |id: &LaneId| {
            self.get(*id).is_some_and(|lane| {
                lane.suspect == suspect && handlers.know(&lane.name, lane.version)
            })
        };
        let priorities = self.by_queue.get(queue).into_iter().flat_map(BTreeMap::values);
        let groups = priorities.map(|ids| ids.iter().copied().filter(serves).collect::<Vec<_>>());
        groups.filter(|ids| !ids.is_empty()).collect()
    }
}

/// Makes lanes, in a transaction of their own: one that is left without a task does no harm.
pub(super) async fn make(site: &Site, conn: &mut Connection, lanes: &[Lane]) -> Result<(), Fault> {
    let mut script = site.script();
    script.add("START TRANSACTION", &[]);
    script.add(LOCK, &[]);
    for Lane { queue, name, version, priority, suspect } in lanes {
        script.add(MAKE, &[&&**queue, &&**name, version, priority, suspect]);
    }
    script.add("COMMIT", &[]);
    conn.run(script).await.map(drop)
}

fn lane(row: &Row) -> Result<Lane, Fault> {
    Ok(Lane {
        queue: text(row, 1)?.into(),
        name: text(row, 2)?.into(),
        version: count(row, 3)?,
        priority: number(row, 4)?,
        suspect: truth(row, 5)?,
    })
}
