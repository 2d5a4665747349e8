//! A storage in which every task is stored in a transaction of the caller, for the laws. So what is done in one and the statements
//! that all other tasks are stored by cannot differ.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    bounds::BATCH_MAX,
    policy::Keep,
    storage::{
        Backlog, Beat, Bell, Cancel, Claim, Claimed, Count, DueSchedules, Enqueued, FullStorage,
        Held, Inspect, JoinError, Joined as Stored, Known, Lost, NewTask, Node, NodeId, Page, Peer,
        Pruned, Reply, Revive, Roll, ScheduleChange, ScheduleChanged, SchedulePage, Settled,
        Settlement, Storage, StorageError, StorageErrorKind, StoredSchedule, TaskFilter,
    },
    task::{TaskId, TaskInfo},
};

/// How a caller of this storage has such a transaction.
pub(crate) trait Within: FullStorage {
    /// Stores the tasks in one of its own, and commits it.
    fn within(
        self: Arc<Self>,
        tasks: Vec<NewTask>,
    ) -> impl Future<Output = Result<Stored, JoinError>> + Send;
}

/// The storage.
#[derive(Debug)]
pub(crate) struct Joined<S> {
    storage: Arc<S>,
    /// What was stored already. What rings is part of the commit where it can be, and so is never lost: then nothing rings where
    /// it is done again, and a law that counts on it is helped.
    stored: Mutex<HashSet<TaskId>>,
}

impl<S> Joined<S> {
    pub(crate) fn new(storage: Arc<S>) -> Self {
        Self { storage, stored: Mutex::default() }
    }
}

impl<S: Within> Storage for Joined<S> {
    fn bell(&self) -> &Bell {
        self.storage.bell()
    }

    fn needs_beats(&self) -> bool {
        self.storage.needs_beats()
    }

    fn since_beat(&self, node: NodeId) -> Option<Duration> {
        self.storage.since_beat(node)
    }

    fn since_away(&self) -> Option<Duration> {
        self.storage.since_away()
    }

    fn join(&self, node: Node) -> Reply<'_, ()> {
        self.storage.join(node)
    }

    fn enqueue(&self, tasks: Vec<NewTask>) -> Reply<'_, Vec<Enqueued>> {
        Box::pin(async move {
            if tasks.len() > BATCH_MAX {
                return Err(StorageError::new(StorageErrorKind::Rejected, "too many"));
            }
            // Where two dispatches have one id or wait for each other's keys, the caller begins anew.
            loop {
                match Arc::clone(&self.storage).within(tasks.clone()).await {
                    Err(JoinError::Storage(error)) if error.is_transient() => {}
                    Err(JoinError::Storage(error)) => return Err(error),
                    Err(elsewhere) => panic!("{elsewhere:?}"),
                    Ok(joined) => {
                        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
                        if tasks.iter().filter(|task| !stored.insert(task.id)).count() > 0 {
                            self.bell().work(Duration::ZERO);
                        }
                        return Ok(joined.enqueued);
                    }
                }
            }
        })
    }

    fn claim(&self, claim: Claim) -> Reply<'_, Claimed> {
        self.storage.claim(claim)
    }

    fn settle(&self, batch: Vec<Settlement>) -> Reply<'_, Vec<Settled>> {
        self.storage.settle(batch)
    }

    fn renew(&self, beat: Beat) -> Reply<'_, Vec<Held>> {
        self.storage.renew(beat)
    }

    fn peers(&self, node: NodeId) -> Reply<'_, Vec<Peer>> {
        self.storage.peers(node)
    }

    fn seize(&self, from: Peer, by: NodeId, limit: usize) -> Reply<'_, Vec<Lost>> {
        self.storage.seize(from, by, limit)
    }

    fn change_schedules(&self, changes: Vec<ScheduleChange>) -> Reply<'_, Vec<ScheduleChanged>> {
        self.storage.change_schedules(changes)
    }

    fn due_schedules(
        &self,
        handlers: Arc<[Known]>,
        format: u32,
        limit: usize,
    ) -> Reply<'_, DueSchedules> {
        self.storage.due_schedules(handlers, format, limit)
    }

    fn cancel(&self, id: TaskId, keep: Keep) -> Reply<'_, Cancel> {
        self.storage.cancel(id, keep)
    }

    fn revive(&self, id: TaskId) -> Reply<'_, Revive> {
        self.storage.revive(id)
    }

    fn prune(&self, limit: usize) -> Reply<'_, Pruned> {
        self.storage.prune(limit)
    }

    fn leave(&self, node: NodeId) -> Reply<'_, ()> {
        self.storage.leave(node)
    }
}

impl<S: Within> Inspect for Joined<S> {
    fn task(&self, id: TaskId) -> Reply<'_, Option<TaskInfo>> {
        self.storage.task(id)
    }

    fn tasks(&self, filter: TaskFilter, page: Page) -> Reply<'_, Vec<TaskInfo>> {
        self.storage.tasks(filter, page)
    }

    fn counts(&self) -> Reply<'_, Vec<Count>> {
        self.storage.counts()
    }

    fn schedule(&self, name: String, key: String) -> Reply<'_, Option<StoredSchedule>> {
        self.storage.schedule(name, key)
    }

    fn schedules(&self, page: SchedulePage) -> Reply<'_, Vec<StoredSchedule>> {
        self.storage.schedules(page)
    }

    fn roll(&self) -> Reply<'_, Roll> {
        self.storage.roll()
    }

    fn backlog(&self) -> Reply<'_, Vec<Backlog>> {
        self.storage.backlog()
    }
}
