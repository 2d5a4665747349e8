//! Pending tasks, in lanes: everything that one claim may or may not take as a whole stands in a line of its own.
//!
//! A claim looks at the heads of the lanes it may serve and at nothing else, so that it costs the same whatever else waits:
//! other queues, unknown handlers, newer payloads, tasks of the future, suspects.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, btree_set},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use uuid::Uuid;

use super::row::Row;
use crate::{storage::handlers::Handlers, task::TaskId};

/// The place of a task in its lane.
type Place = (i64, TaskId);

/// No task stands behind this one at the same instant.
const LAST: TaskId = TaskId::from_uuid(Uuid::max());

/// The lanes of one queue and one handler name.
type LanesOfName = BTreeMap<Lane, BTreeSet<Place>>;

/// All lanes.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// By queue, then by handler name.
    queues: HashMap<Arc<str>, HashMap<Arc<str>, LanesOfName>>,
    /// How many places were looked at, ever: the cost of claims, in a unit that no slow machine can change.
    looked_at: AtomicU64,
}

/// A lane of one queue and one handler name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Lane {
    version: u32,
    suspect: bool,
    priority: i16,
}

impl Lane {
    fn of(row: &Row) -> Self {
        Self { version: row.version, suspect: row.counters.suspect(), priority: row.priority }
    }
}

/// What is due and not running, of one queue, name and version.
pub(super) struct DueTasks<'a> {
    pub(super) queue: &'a str,
    pub(super) name: &'a str,
    pub(super) version: u32,
    /// Counted up to a bound.
    pub(super) count: usize,
    pub(super) oldest: i64,
}

impl Lanes {
    pub(super) fn insert(&mut self, row: &Row) {
        let names = self.queues.entry(row.queue.clone()).or_default();
        let lanes = names.entry(row.name.clone()).or_default();
        lanes.entry(Lane::of(row)).or_default().insert((row.due, row.id));
    }

    /// Takes out a task that was put in as it is now, and every lane that is empty then.
    pub(super) fn remove(&mut self, row: &Row) {
        let Some(names) = self.queues.get_mut(&row.queue) else { return };
        let Some(lanes) = names.get_mut(&row.name) else { return };
        let lane = Lane::of(row);
        let Some(places) = lanes.get_mut(&lane) else { return };
        places.remove(&(row.due, row.id));
        if places.is_empty() {
            lanes.remove(&lane);
        }
        if lanes.is_empty() {
            names.remove(&row.name);
        }
        if names.is_empty() {
            self.queues.remove(&row.queue);
        }
    }

    /// The due tasks of a queue that these handlers can run, in the order in which they are to run.
    pub(super) fn due(
        &self,
        queue: &str,
        handlers: &Handlers<'_>,
        suspects: bool,
        now: i64,
    ) -> Due<'_> {
        let mut due = Due { lanes: BinaryHeap::new(), looked_at: &self.looked_at };
        for (lane, places) in self.of(queue, handlers).filter(|(lane, _)| lane.suspect == suspects)
        {
            due.push(lane.priority, places.range(..=(now, LAST)));
        }
        due
    }

    /// When the next task of a queue becomes due that these handlers can run.
    pub(super) fn next_due(&self, queue: &str, handlers: &Handlers<'_>, now: i64) -> Option<i64> {
        let soonest = |places: &BTreeSet<Place>| {
            self.looked_at.fetch_add(1, Ordering::Relaxed);
            places.range((now, LAST)..).next().map(|(due, _)| *due)
        };
        self.of(queue, handlers).filter_map(|(_, places)| soonest(places)).min()
    }

    fn of<'a, 'h>(
        &'a self,
        queue: &str,
        handlers: &'h Handlers<'_>,
    ) -> impl Iterator<Item = (Lane, &'a BTreeSet<Place>)> + use<'a, 'h> {
        let names = self.queues.get(queue);
        handlers
            .iter()
            .filter_map(move |(name, version)| Some((names?.get(name)?, version)))
            .flat_map(|(lanes, known)| {
                lanes.iter().take_while(move |(lane, _)| lane.version <= known)
            })
            .map(|(lane, places)| (*lane, places))
    }

    /// What is due, whoever may run it. Counts each lane up to `bound`.
    pub(super) fn backlog(&self, now: i64, bound: usize) -> impl Iterator<Item = DueTasks<'_>> {
        self.queues.iter().flat_map(move |(queue, names)| {
            names.iter().flat_map(move |(name, lanes)| {
                lanes.iter().filter_map(move |(lane, places)| {
                    let mut due = places.range(..=(now, LAST));
                    let (oldest, _) = due.next()?;
                    let count = 1 + due.take(bound.saturating_sub(1)).count();
                    let version = lane.version;
                    Some(DueTasks { queue, name, version, count, oldest: *oldest })
                })
            })
        })
    }

    #[cfg(feature = "conformance")]
    pub(super) fn looked_at(&self) -> u64 {
        self.looked_at.load(Ordering::Relaxed)
    }
}

/// The lanes of one queue merged: by priority, higher first, then by place.
pub(super) struct Due<'a> {
    lanes: BinaryHeap<Waiting<'a>>,
    looked_at: &'a AtomicU64,
}

/// A lane with its first place taken out.
struct Waiting<'a> {
    rank: (i16, Reverse<Place>),
    behind: btree_set::Range<'a, Place>,
}

impl<'a> Due<'a> {
    fn push(&mut self, priority: i16, mut places: btree_set::Range<'a, Place>) {
        self.looked_at.fetch_add(1, Ordering::Relaxed);
        if let Some(place) = places.next() {
            self.lanes.push(Waiting { rank: (priority, Reverse(*place)), behind: places });
        }
    }
}

impl Iterator for Due<'_> {
    type Item = TaskId;

    fn next(&mut self) -> Option<TaskId> {
        let Waiting { rank: (priority, Reverse((_, id))), behind } = self.lanes.pop()?;
        self.push(priority, behind);
        Some(id)
    }
}

impl PartialEq for Waiting<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Waiting<'_> {}

impl PartialOrd for Waiting<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}
