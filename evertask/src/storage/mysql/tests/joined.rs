//! The laws of storage, where every task is stored in a transaction of the caller, in a session that is as the server gives it.

use std::sync::Arc;

use mysql_async::{Conn, TxOpts, prelude::Queryable};

use crate::{
    bounds::BATCH_MAX,
    policy::Keep,
    storage::{
        Backlog, Beat, Bell, Cancel, Claim, Claimed, Count, DueSchedules, Enqueued, FullStorage,
        Held, Inspect, Join, JoinError, Known, Lost, ManualClock, MySql, NewTask, Node, NodeId,
        Page, Peer, Pruned, Reply, Revive, ScheduleChange, ScheduleChanged, SchedulePage, Settled,
        Settlement, Storage, StorageError, StorageErrorKind, StoredSchedule, TaskFilter,
        conformance::Subject, mysql::rings::Rings,
    },
    task::{TaskId, TaskInfo},
};

#[derive(Debug)]
struct Joined {
    mysql: Arc<MySql>,
}

impl Joined {
    async fn within(&self, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>, StorageError> {
        if tasks.len() > BATCH_MAX {
            return Err(StorageError::new(StorageErrorKind::Rejected, "too many"));
        }
        let storage: Arc<dyn FullStorage> = Arc::clone(&self.mysql) as _;
        let site = &self.mysql.0.site;
        // Where two dispatches have one id or wait for each other's keys, the caller begins anew.
        loop {
            let mut conn = Conn::new(site.settings.opts.clone()).await.unwrap();
            // What it has seen before does not keep it from what was stored since.
            let mut seen = TxOpts::default();
            seen.with_consistent_snapshot(true);
            let mut tx = conn.start_transaction(seen).await.unwrap();
            match tx.join(Arc::clone(&storage), tasks.clone()).await {
                Ok(joined) => {
                    tx.commit().await.unwrap();
                    // Nobody else does, for those who are here: the runtime looks for it.
                    let mut rings = Rings::default();
                    let now = site.clock.as_ref().unwrap().micros();
                    tasks.iter().for_each(|task| rings.stored(task.due, now));
                    site.ring(rings);
                    return Ok(joined.enqueued);
                }
                Err(JoinError::Storage(error)) if error.is_transient() => {}
                Err(JoinError::Storage(error)) => {
                    tx.query_drop("SELECT 1").await.expect("it goes on");
                    return Err(error);
                }
                Err(elsewhere) => panic!("{elsewhere:?}"),
            }
        }
    }
}

async fn joined() -> Option<Subject> {
    let (options, url) = super::fresh()?;
    let clock = ManualClock::new();
    let mysql = Arc::new(options.clock(clock.clock()).connect(&url).await.unwrap());
    Some(Subject::new(Joined { mysql }, clock))
}

crate::storage_conformance!(laws, super::joined);

impl Storage for Joined {
    fn bell(&self) -> &Bell {
        self.mysql.bell()
    }

    fn needs_beats(&self) -> bool {
        true
    }

    fn join(&self, node: Node) -> Reply<'_, ()> {
        self.mysql.join(node)
    }

    fn enqueue(&self, tasks: Vec<NewTask>) -> Reply<'_, Vec<Enqueued>> {
        Box::pin(self.within(tasks))
    }

    fn claim(&self, claim: Claim) -> Reply<'_, Claimed> {
        self.mysql.claim(claim)
    }

    fn settle(&self, batch: Vec<Settlement>) -> Reply<'_, Vec<Settled>> {
        self.mysql.settle(batch)
    }

    fn renew(&self, beat: Beat) -> Reply<'_, Vec<Held>> {
        self.mysql.renew(beat)
    }

    fn peers(&self, node: NodeId) -> Reply<'_, Vec<Peer>> {
        self.mysql.peers(node)
    }

    fn seize(&self, from: NodeId, by: NodeId, limit: usize) -> Reply<'_, Vec<Lost>> {
        self.mysql.seize(from, by, limit)
    }

    fn change_schedules(&self, changes: Vec<ScheduleChange>) -> Reply<'_, Vec<ScheduleChanged>> {
        self.mysql.change_schedules(changes)
    }

    fn due_schedules(
        &self,
        handlers: Arc<[Known]>,
        format: u32,
        limit: usize,
    ) -> Reply<'_, DueSchedules> {
        self.mysql.due_schedules(handlers, format, limit)
    }

    fn cancel(&self, id: TaskId, keep: Keep) -> Reply<'_, Cancel> {
        self.mysql.cancel(id, keep)
    }

    fn revive(&self, id: TaskId) -> Reply<'_, Revive> {
        self.mysql.revive(id)
    }

    fn prune(&self, limit: usize) -> Reply<'_, Pruned> {
        self.mysql.prune(limit)
    }

    fn leave(&self, node: NodeId) -> Reply<'_, ()> {
        self.mysql.leave(node)
    }
}

impl Inspect for Joined {
    fn task(&self, id: TaskId) -> Reply<'_, Option<TaskInfo>> {
        self.mysql.task(id)
    }

    fn tasks(&self, filter: TaskFilter, page: Page) -> Reply<'_, Vec<TaskInfo>> {
        self.mysql.tasks(filter, page)
    }

    fn counts(&self) -> Reply<'_, Vec<Count>> {
        self.mysql.counts()
    }

    fn schedule(&self, name: String, key: String) -> Reply<'_, Option<StoredSchedule>> {
        self.mysql.schedule(name, key)
    }

    fn schedules(&self, page: SchedulePage) -> Reply<'_, Vec<StoredSchedule>> {
        self.mysql.schedules(page)
    }

    fn backlog(&self) -> Reply<'_, Vec<Backlog>> {
        self.mysql.backlog()
    }
}
