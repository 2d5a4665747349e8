//! Tasks in the memory of this process: the reference by which the other storages are measured.
//!
//! Nothing outlives the process. All else holds: leases, keys, order, retries, rescue, retention.

mod claim;
mod enqueue;
mod finish;
mod inspect;
mod lanes;
mod node;
mod rare;
mod row;
mod schedules;
mod settle;
mod table;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use self::table::{Rings, Table};
use super::{
    Backlog, Beat, Bell, Cancel, Claim, Claimed, Clock, Count, DueSchedules, Enqueued, Held,
    Inspect, Known, Lost, NewTask, Node, NodeId, Page, Peer, Pruned, Reply, Revive, Roll,
    ScheduleChange, ScheduleChanged, SchedulePage, Settled, Settlement, Storage, StoredSchedule,
    TaskFilter, rules,
};
use crate::{
    policy::Keep,
    task::{TaskId, TaskInfo},
};

/// A storage that keeps tasks in memory, for tests and for work that may be lost with the process.
///
/// Clones share the same tasks.
///
/// ```
/// use evertask::storage::Memory;
///
/// let storage = Memory::new();
/// ```
#[derive(Clone)]
pub struct Memory(Arc<Shared>);

struct Shared {
    table: Mutex<Table>,
    clock: Clock,
    bell: Bell,
}

impl Memory {
    /// An empty memory, on a clock that goes with tokio's: `tokio::time::pause` and `advance` move it.
    #[must_use]
    #[allow(clippy::new_without_default)] // two defaults would not be equal
    pub fn new() -> Self {
        Self::with_clock(Clock::tokio())
    }

    /// An empty memory on this clock.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        Self(Arc::new(Shared { table: Mutex::default(), clock, bell: Bell::new() }))
    }

    /// How many places claims have looked at so far: what a claim costs, in a unit that no slow machine can change.
    #[cfg(feature = "conformance")]
    #[must_use]
    pub fn effort(&self) -> u64 {
        self.read(|table, _| table.index.lanes.looked_at())
    }

    /// Looks at the table at one instant.
    fn read<R>(&self, look: impl FnOnce(&Table, i64) -> R) -> R {
        let table = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        look(&table, self.0.clock.micros())
    }

    /// Changes the table at one instant, then rings for what came of it.
    fn write<R>(&self, change: impl FnOnce(&mut Table, i64) -> R) -> R {
        let (result, rings) = {
            let mut table = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
            let result = change(&mut table, self.0.clock.micros());
            (result, std::mem::take(&mut table.rings))
        };
        self.ring(rings);
        result
    }

    fn ring(&self, rings: Rings) {
        let bell = &self.0.bell;
        if let Some(due_in) = rings.work {
            bell.work(due_in);
        }
        if rings.orders {
            bell.orders();
        }
        if rings.peers {
            bell.peers();
        }
        if rings.schedules {
            bell.schedules();
        }
        if !rings.ended.is_empty() {
            bell.ended(rings.ended);
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = self.read(|table, _| table.rows.len());
        f.debug_struct("Memory").field("tasks", &tasks).finish_non_exhaustive()
    }
}

/// An answer that is there at once, computed when the future is first asked for it, as a caller may expect of one.
fn reply<'a, T: Send + 'a>(answer: impl FnOnce() -> T + Send + 'a) -> Reply<'a, T> {
    Box::pin(async move { Ok(answer()) })
}

impl Storage for Memory {
    fn bell(&self) -> &Bell {
        &self.0.bell
    }

    fn needs_beats(&self) -> bool {
        true
    }

    fn join(&self, node: Node) -> Reply<'_, ()> {
        reply(move || self.write(|table, now| table.join(node, now)))
    }

    fn enqueue(&self, tasks: Vec<NewTask>) -> Reply<'_, Vec<Enqueued>> {
        Box::pin(async move { self.write(|table, now| table.enqueue(tasks, now)) })
    }

    fn enqueue_one(&self, task: NewTask) -> Reply<'_, Enqueued> {
        Box::pin(async move {
            rules::check_new(&task)?;
            Ok(self.write(|table, now| table.enqueue_one(task, now)))
        })
    }

    fn claim(&self, claim: Claim) -> Reply<'_, Claimed> {
        reply(move || self.write(|table, now| table.claim(&claim, now)))
    }

    fn settle(&self, batch: Vec<Settlement>) -> Reply<'_, Vec<Settled>> {
        reply(move || {
            self.write(|table, now| {
                batch.into_iter().map(|settlement| table.settle(settlement, now)).collect()
            })
        })
    }

    fn renew(&self, beat: Beat) -> Reply<'_, Vec<Held>> {
        reply(move || self.write(|table, now| table.renew(&beat, now)))
    }

    fn peers(&self, node: NodeId) -> Reply<'_, Vec<Peer>> {
        reply(move || self.read(|table, _| table.peers(node)))
    }

    fn seize(&self, from: Peer, by: NodeId, limit: usize) -> Reply<'_, Vec<Lost>> {
        reply(move || self.write(|table, now| table.seize(from, by, limit, now)))
    }

    fn cancel(&self, id: TaskId, keep: Keep) -> Reply<'_, Cancel> {
        reply(move || self.write(|table, now| table.cancel(id, keep, now)))
    }

    fn revive(&self, id: TaskId) -> Reply<'_, Revive> {
        reply(move || self.write(|table, now| table.revive(id, now)))
    }

    fn prune(&self, limit: usize) -> Reply<'_, Pruned> {
        reply(move || self.write(|table, now| table.prune(limit, now)))
    }

    fn change_schedules(&self, changes: Vec<ScheduleChange>) -> Reply<'_, Vec<ScheduleChanged>> {
        Box::pin(async move {
            rules::check_changes(&changes)?;
            Ok(self.write(|table, now| {
                changes.into_iter().map(|change| table.change_schedule(change, now)).collect()
            }))
        })
    }

    fn due_schedules(
        &self,
        handlers: Arc<[Known]>,
        format: u32,
        limit: usize,
    ) -> Reply<'_, DueSchedules> {
        reply(move || self.read(|table, now| table.due_schedules(&handlers, format, limit, now)))
    }

    fn leave(&self, node: NodeId) -> Reply<'_, ()> {
        reply(move || self.write(|table, _| table.leave(node)))
    }
}

impl Inspect for Memory {
    fn task(&self, id: TaskId) -> Reply<'_, Option<TaskInfo>> {
        reply(move || self.read(|table, _| table.rows.get(&id).map(|row| row.info(true))))
    }

    fn tasks(&self, filter: TaskFilter, page: Page) -> Reply<'_, Vec<TaskInfo>> {
        reply(move || self.read(|table, _| table.tasks(&filter, page)))
    }

    fn counts(&self) -> Reply<'_, Vec<Count>> {
        reply(move || self.read(|table, _| table.counts()))
    }

    fn roll(&self) -> Reply<'_, Roll> {
        reply(move || self.read(|table, now| table.roll(now)))
    }

    fn backlog(&self) -> Reply<'_, Vec<Backlog>> {
        reply(move || self.read(|table, now| table.backlog(now)))
    }

    fn schedule(&self, name: String, key: String) -> Reply<'_, Option<StoredSchedule>> {
        reply(move || self.read(|table, _| table.schedule(&name, &key)))
    }

    fn schedules(&self, page: SchedulePage) -> Reply<'_, Vec<StoredSchedule>> {
        reply(move || self.read(|table, _| table.list_schedules(&page)))
    }
}
