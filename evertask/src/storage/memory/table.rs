//! All that memory holds, and the indexes over it.
//!
//! Every change of a task goes through [`Table::update`], which takes it out of all indexes and puts it back as it is then:
//! no index can be forgotten, and none is ever searched from end to end.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{lanes::Lanes, row::Row, schedules::Schedules};
use crate::{
    policy::Keep,
    storage::{Node, NodeId, rules},
    task::{TaskId, TaskState},
};

/// The tasks and nodes of one memory.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) rows: BTreeMap<TaskId, Row>,
    pub(super) index: Index,
    /// Nodes that have announced themselves.
    pub(super) nodes: HashMap<NodeId, Announced>,
    /// Where the last of them began to count its signs of life.
    pub(super) counts_from: u64,
    pub(super) schedules: Schedules,
    /// What is to be rung once the change is made.
    pub(super) rings: Rings,
}

/// A node that has announced itself.
#[derive(Debug)]
pub(super) struct Announced {
    /// Goes up each time it says that it lives,
    pub(super) beats: u64,
    /// and this is when it did last.
    pub(super) beat_at: i64,
    pub(super) joined: i64,
    /// What it said of itself; nothing if it was forgotten meanwhile.
    pub(super) node: Option<Node>,
}

impl Announced {
    /// One that comes again, after it left or was taken for dead, starts from a count that nobody has seen.
    pub(super) fn new(now: i64, before: &mut u64) -> Self {
        *before += 1 << 32;
        Self { beats: *before, beat_at: now, joined: now, node: None }
    }

    pub(super) fn beat(&mut self, now: i64) {
        self.beats += 1;
        self.beat_at = now;
    }
}

/// Where to find tasks by what is asked for.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Pending tasks in their lines.
    pub(super) lanes: Lanes,
    /// Running tasks by the node that holds them and the claim by which it got them.
    pub(super) held: HashMap<NodeId, BTreeSet<(u64, TaskId)>>,
    /// Live tasks by handler name and key.
    keys: HashMap<(Arc<str>, Arc<str>), TaskId>,
    /// Replaced tasks by the id of the dispatch that replaced them last.
    requests: HashMap<TaskId, TaskId>,
    /// Ended tasks by when they may be deleted.
    pub(super) prunes: BTreeSet<(i64, TaskId)>,
    /// Pending tasks by when they expire.
    pub(super) expiries: BTreeSet<(i64, TaskId)>,
}

/// What a change gives others to do.
#[derive(Debug, Default)]
pub(super) struct Rings {
    /// Work, after so long.
    pub(super) work: Option<Duration>,
    pub(super) orders: bool,
    pub(super) peers: bool,
    pub(super) schedules: bool,
    pub(super) ended: Vec<TaskId>,
}

impl Rings {
    fn work(&mut self, due_in: Duration) {
        self.work = Some(self.work.map_or(due_in, |sooner| sooner.min(due_in)));
    }

    /// What was asked for had been done before, and perhaps not been told, as its answer was not: all look.
    pub(super) fn again(&mut self) {
        self.work(Duration::ZERO);
    }
}

impl Index {
    fn note(&mut self, row: &Row) {
        if let Some(request) = row.rare.request {
            self.requests.insert(request, row.id);
        }
        if let (false, Some(key)) = (row.state.is_final(), &row.rare.key) {
            self.keys.insert((row.name.clone(), key.clone()), row.id);
        }
        match row.state {
            TaskState::Pending => {
                self.lanes.insert(row);
                self.expiries.extend(row.rare.expires.map(|at| (at, row.id)));
            }
            TaskState::Running => {
                if let Some(hold) = row.hold {
                    self.held.entry(hold.node).or_default().insert((hold.claim, row.id));
                }
            }
            TaskState::Completed | TaskState::Failed | TaskState::Cancelled => {
                self.prunes.extend(row.prune_at.map(|at| (at, row.id)));
            }
        }
    }

    fn forget(&mut self, row: &Row) {
        if let Some(request) = row.rare.request {
            self.requests.remove(&request);
        }
        if let (false, Some(key)) = (row.state.is_final(), &row.rare.key) {
            self.keys.remove(&(row.name.clone(), key.clone()));
        }
        match row.state {
            TaskState::Pending => {
                self.lanes.remove(row);
                if let Some(at) = row.rare.expires {
                    self.expiries.remove(&(at, row.id));
                }
            }
            TaskState::Running => {
                let Some(hold) = row.hold else { return };
                if let Some(held) = self.held.get_mut(&hold.node) {
                    held.remove(&(hold.claim, row.id));
                    if held.is_empty() {
                        self.held.remove(&hold.node);
                    }
                }
            }
            TaskState::Completed | TaskState::Failed | TaskState::Cancelled => {
                if let Some(at) = row.prune_at {
                    self.prunes.remove(&(at, row.id));
                }
            }
        }
    }

    /// The live task of this handler name that holds this key.
    pub(super) fn holder(&self, name: &Arc<str>, key: &Arc<str>) -> Option<TaskId> {
        self.keys.get(&(name.clone(), key.clone())).copied()
    }

    /// The task that this dispatch replaced, if nothing replaced it since.
    pub(super) fn replaced_by(&self, request: TaskId) -> Option<TaskId> {
        self.requests.get(&request).copied()
    }
}

impl Table {
    pub(super) fn insert(&mut self, row: Row, now: i64) {
        self.rings.work(rules::between(now, row.due));
        self.index.note(&row);
        self.rows.insert(row.id, row);
    }

    /// Changes a task, if it is stored, and tells what the change says.
    pub(super) fn update<R>(
        &mut self,
        id: TaskId,
        now: i64,
        change: impl FnOnce(&mut Row) -> R,
    ) -> Option<R> {
        let row = self.rows.get_mut(&id)?;
        self.index.forget(row);
        let result = change(row);
        self.index.note(row);
        if row.state == TaskState::Pending {
            self.rings.work(rules::between(now, row.due));
        }
        Some(result)
    }

    pub(super) fn remove(&mut self, id: TaskId) -> Option<Row> {
        let row = self.rows.remove(&id)?;
        self.index.forget(&row);
        Some(row)
    }

    /// Pending or running → ended so, and kept this long.
    pub(super) fn end(
        &mut self,
        id: TaskId,
        now: i64,
        state: TaskState,
        keep: Keep,
        change: impl FnOnce(&mut Row),
    ) {
        self.update(id, now, |row| {
            change(row);
            row.release(state);
            row.finished = Some(now);
            row.prune_at = rules::prune_at(keep, now);
        });
        if keep == Keep::No {
            self.remove(id);
        }
        self.rings.ended.push(id);
    }
}
