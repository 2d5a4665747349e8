//! A storage in which every task is stored in a transaction of the caller, for the laws. So what is done in one and the statements
//! that all other tasks are stored by cannot differ.

use std::{sync::Arc, time::Duration};

use crate::{
    bounds::BATCH_MAX,
    policy::Keep,
    storage::{
        Backlog, Beat, Bell, Cancel, Claim, Claimed, Count, DueSchedules, Enqueued, FullStorage,
        Held, Inspect, JoinError, Joined as Stored, Known, Lost, NewTask, Node, NodeId, Page, Peer,
        Pruned, Reply, Revive, ScheduleChange, ScheduleChanged, SchedulePage, Settled, Settlement,
        Storage, StorageError, StorageErrorKind, StoredSchedule, TaskFilter,
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
pub(crate) struct Joined<S>(pub(crate) Arc<S>);

impl<S: Within> Storage for Joined<S> {
    fn bell(&self) -> &Bell {
        self.0.bell()
    }

    fn needs_beats(&self) -> bool {
        self.0.needs_beats()
    }

    fn since_beat(&self, node: NodeId) -> Option<Duration> {
        self.0.since_beat(node)
    }

    fn join(&self, node: Node) -> Reply<'_, ()> {
        self.0.join(node)
    }

    fn enqueue(&self, tasks: Vec<NewTask>) -> Reply<'_, Vec<Enqueued>> {
        Box::pin(async move {
            if tasks.len() > BATCH_MAX {
                return Err(StorageError::new(StorageErrorKind::Rejected, "too many"));
            }
            // Where two dispatches have one id or wait for each other's keys, the caller begins anew.
            loop {
                match Arc::clone(&self.0).within(tasks.clone()).await {
                    Err(JoinError::Storage(error)) if error.is_transient() => {}
                    Err(JoinError::Storage(error)) => return Err(error),
                    Err(elsewhere) => panic!("{elsewhere:?}"),
                    Ok(joined) => return Ok(joined.enqueued),
                }
            }
        })
    }

    fn claim(&self, claim: Claim) -> Reply<'_, Claimed> {
        self.0.claim(claim)
    }

    fn settle(&self, batch: Vec<Settlement>) -> Reply<'_, Vec<Settled>> {
        self.0.settle(batch)
    }

    fn renew(&self, beat: Beat) -> Reply<'_, Vec<Held>> {
        self.0.renew(beat)
    }

    fn peers(&self, node: NodeId) -> Reply<'_, Vec<Peer>> {
        self.0.peers(node)
    }

    fn seize(&self, from: NodeId, by: NodeId, limit: usize) -> Reply<'_, Vec<Lost>> {
        self.0.seize(from, by, limit)
    }

    fn change_schedules(&self, changes: Vec<ScheduleChange>) -> Reply<'_, Vec<ScheduleChanged>> {
        self.0.change_schedules(changes)
    }

    fn due_schedules(
        &self,
        handlers: Arc<[Known]>,
        format: u32,
        limit: usize,
    ) -> Reply<'_, DueSchedules> {
        self.0.due_schedules(handlers, format, limit)
    }

    fn cancel(&self, id: TaskId, keep: Keep) -> Reply<'_, Cancel> {
        self.0.cancel(id, keep)
    }

    fn revive(&self, id: TaskId) -> Reply<'_, Revive> {
        self.0.revive(id)
    }

    fn prune(&self, limit: usize) -> Reply<'_, Pruned> {
        self.0.prune(limit)
    }

    fn leave(&self, node: NodeId) -> Reply<'_, ()> {
        self.0.leave(node)
    }
}

impl<S: Within> Inspect for Joined<S> {
    fn task(&self, id: TaskId) -> Reply<'_, Option<TaskInfo>> {
        self.0.task(id)
    }

    fn tasks(&self, filter: TaskFilter, page: Page) -> Reply<'_, Vec<TaskInfo>> {
        self.0.tasks(filter, page)
    }

    fn counts(&self) -> Reply<'_, Vec<Count>> {
        self.0.counts()
    }

    fn schedule(&self, name: String, key: String) -> Reply<'_, Option<StoredSchedule>> {
        self.0.schedule(name, key)
    }

    fn schedules(&self, page: SchedulePage) -> Reply<'_, Vec<StoredSchedule>> {
        self.0.schedules(page)
    }

    fn backlog(&self) -> Reply<'_, Vec<Backlog>> {
        self.0.backlog()
    }
}
