//! Lanes: the lines in which pending tasks wait, and what the writer remembers of them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use rusqlite::{Connection, OptionalExtension, Row, params};

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

/// When the first task of a lane is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Next {
    /// Then.
    At(i64),
    /// Nothing is pending.
    Never,
}

/// All lanes, as the writer remembers them.
///
/// Numbers never change, so those are remembered for good, unless the transaction that made them is rolled back. When a lane's
/// next task is due is remembered exactly or not at all: [`forget`](Self::forget) after whatever may make it wrong.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    known: HashMap<LaneId, (Arc<Lane>, Option<Next>)>,
    numbers: HashMap<Arc<Lane>, LaneId>,
    by_queue: HashMap<Arc<str>, BTreeMap<Reverse<i16>, Vec<LaneId>>>,
}

impl Lanes {
    /// Reads lanes that others have made, and forgets when anything is due.
    pub(super) fn refresh(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        for (_, next) in self.known.values_mut() {
            *next = None;
        }
        // Lanes are never deleted, so what is new has a higher number than all that is known.
        let last = self.known.keys().max().copied().unwrap_or(0);
        let mut select = conn.prepare_cached(
            "SELECT lane, queue, name, version, priority, suspect FROM evertask_lanes WHERE lane > ?1",
        )?;
        let mut rows = select.query([last])?;
        while let Some(row) = rows.next()? {
            self.remember(row.get(0)?, lane(row)?, None);
        }
        Ok(())
    }

    /// The number of a lane, which is made if there is none. Only inside a write transaction, after a refresh.
    pub(super) fn number(&mut self, conn: &Connection, lane: Lane) -> rusqlite::Result<LaneId> {
        if let Some(id) = self.numbers.get(&lane) {
            return Ok(*id);
        }
        let mut insert = conn.prepare_cached(
            "INSERT INTO evertask_lanes (queue, name, version, priority, suspect) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let Lane { queue, name, version, priority, suspect } = &lane;
        let id = insert.insert(params![queue, name, version, priority, suspect])?;
        self.remember(id, lane, Some(Next::Never));
        Ok(id)
    }

    fn remember(&mut self, id: LaneId, lane: Lane, next: Option<Next>) {
        let lane = Arc::new(lane);
        let lanes = self.by_queue.entry(lane.queue.clone()).or_default();
        lanes.entry(Reverse(lane.priority)).or_default().push(id);
        self.numbers.insert(lane.clone(), id);
        self.known.insert(id, (lane, next));
    }

    pub(super) fn get(&self, id: LaneId) -> Option<&Arc<Lane>> {
        self.known.get(&id).map(|(lane, _)| lane)
    }

    /// A task is pending in this lane that was not before.
    pub(super) fn added(&mut self, id: LaneId, due_at: i64) {
        // Of a lane of which nothing is known, one task more makes nothing known.
        if let Some((_, Some(next))) = self.known.get_mut(&id) {
            *next = (*next).min(Next::At(due_at));
        }
    }

    /// A task is no longer pending in this lane, or no longer due when it was.
    pub(super) fn forget(&mut self, id: LaneId) {
        if let Some((_, next)) = self.known.get_mut(&id) {
            *next = None;
        }
    }

    pub(super) fn set_next(&mut self, id: LaneId, next: Next) {
        if let Some((_, known)) = self.known.get_mut(&id) {
            *known = Some(next);
        }
    }

    /// When the first task of this lane is due: from memory, else from the head of its line.
    pub(super) fn next(&mut self, conn: &Connection, id: LaneId) -> rusqlite::Result<Next> {
        if let Some((_, Some(next))) = self.known.get(&id) {
            return Ok(*next);
        }
        let head = conn.prepare_cached(NEXT)?.query_row([id], |row| row.get(0)).optional()?;
        let next = head.map_or(Next::Never, Next::At);
        self.set_next(id, next);
        Ok(next)
    }

    /// When the first task of this lane becomes due that is not yet.
    pub(super) fn later(&self, conn: &Connection, id: LaneId, now: i64) -> rusqlite::Result<Next> {
        let later =
            conn.prepare_cached(LATER)?.query_row([id, now], |row| row.get(0)).optional()?;
        Ok(later.map_or(Next::Never, Next::At))
    }

    /// Where what is remembered is not what is stored.
    #[cfg(test)]
    pub(super) fn wrong(&self, conn: &Connection) -> Vec<String> {
        let mut wrong = Vec::new();
        for (id, (lane, next)) in &self.known {
            let head = conn.prepare_cached(NEXT).unwrap().query_row([id], |row| row.get(0));
            let stored = head.map_or(Next::Never, Next::At);
            if next.is_some_and(|next| next != stored) {
                wrong.push(format!("{lane:?}: {next:?}, but {stored:?}"));
            }
        }
        wrong
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

/// The head of one lane's line.
pub(super) const NEXT: &str = "SELECT due_at FROM evertask_tasks INDEXED BY evertask_pending
     WHERE state = 0 AND lane = ?1 ORDER BY due_at LIMIT 1";

/// Who is first in it of those who are not due yet.
pub(super) const LATER: &str = "SELECT due_at FROM evertask_tasks INDEXED BY evertask_pending
     WHERE state = 0 AND lane = ?1 AND due_at > ?2 ORDER BY due_at LIMIT 1";

fn lane(row: &Row<'_>) -> rusqlite::Result<Lane> {
    Ok(Lane {
        queue: row.get(1)?,
        name: row.get(2)?,
        version: row.get(3)?,
        priority: row.get(4)?,
        suspect: row.get(5)?,
    })
}
