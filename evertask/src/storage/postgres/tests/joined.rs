//! The laws of storage, where every task is stored in a transaction of the caller. So the function in the schema and the
//! statements of [`enqueue`](super::super::enqueue) cannot differ.

use std::sync::Arc;

use sqlx::{Connection, PgConnection};

use crate::{
    bounds::BATCH_MAX,
    policy::Keep,
    storage::{
        Backlog, Beat, Bell, Cancel, Claim, Claimed, Count, DueSchedules, Enqueued, FullStorage,
        Held, Inspect, Join, JoinError, Known, Lost, ManualClock, NewTask, Node, NodeId, Page,
        Peer, Postgres, Pruned, Reply, Revive, ScheduleChange, ScheduleChanged, SchedulePage,
        Settled, Settlement, Storage, StorageError, StorageErrorKind, StoredSchedule, TaskFilter,
        conformance::Subject,
    },
    task::{TaskId, TaskInfo},
};

#[derive(Debug)]
struct Joined {
    postgres: Arc<Postgres>,
}

impl Joined {
    async fn within(&self, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>, StorageError> {
        if tasks.len() > BATCH_MAX {
            return Err(StorageError::new(StorageErrorKind::Rejected, "too many"));
        }
        let storage: Arc<dyn FullStorage> = Arc::clone(&self.postgres) as _;
        let options = self.postgres.0.site.settings.for_sqlx();
        // Where two dispatches have one id or wait for each other's keys, the caller begins anew.
        loop {
            let mut conn = PgConnection::connect_with(&options[0]).await.unwrap();
            let mut tx = conn.begin().await.unwrap();
            match tx.join(Arc::clone(&storage), tasks.clone()).await {
                Ok(joined) => {
                    tx.commit().await.unwrap();
                    return Ok(joined.enqueued);
                }
                Err(JoinError::Storage(error)) if error.is_transient() => {}
                Err(JoinError::Storage(error)) => {
                    sqlx::query("SELECT 1").execute(&mut *tx).await.expect("it is not poisoned");
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
    let options = options.clock(clock.clock());
    let postgres = Arc::new(options.connect(&url).await.unwrap());
    // From here on it hears of commits, which is what it is woken by.
    postgres.bell().listen_work().wait_for(|work| work.rung > 0).await.unwrap();
    Some(Subject::new(Joined { postgres }, clock))
}

crate::storage_conformance!(laws, super::joined);

impl Storage for Joined {
    fn bell(&self) -> &Bell {
        self.postgres.bell()
    }

    fn needs_beats(&self) -> bool {
        true
    }

    fn join(&self, node: Node) -> Reply<'_, ()> {
        self.postgres.join(node)
    }

    fn enqueue(&self, tasks: Vec<NewTask>) -> Reply<'_, Vec<Enqueued>> {
        Box::pin(self.within(tasks))
    }

    fn claim(&self, claim: Claim) -> Reply<'_, Claimed> {
        self.postgres.claim(claim)
    }

    fn settle(&self, batch: Vec<Settlement>) -> Reply<'_, Vec<Settled>> {
        self.postgres.settle(batch)
    }

    fn renew(&self, beat: Beat) -> Reply<'_, Vec<Held>> {
        self.postgres.renew(beat)
    }

    fn peers(&self, node: NodeId) -> Reply<'_, Vec<Peer>> {
        self.postgres.peers(node)
    }

    fn seize(&self, from: NodeId, by: NodeId, limit: usize) -> Reply<'_, Vec<Lost>> {
        self.postgres.seize(from, by, limit)
    }

    fn change_schedules(&self, changes: Vec<ScheduleChange>) -> Reply<'_, Vec<ScheduleChanged>> {
        self.postgres.change_schedules(changes)
    }

    fn due_schedules(
        &self,
        handlers: Arc<[Known]>,
        format: u32,
        limit: usize,
    ) -> Reply<'_, DueSchedules> {
        self.postgres.due_schedules(handlers, format, limit)
    }

    fn cancel(&self, id: TaskId, keep: Keep) -> Reply<'_, Cancel> {
        self.postgres.cancel(id, keep)
    }

    fn revive(&self, id: TaskId) -> Reply<'_, Revive> {
        self.postgres.revive(id)
    }

    fn prune(&self, limit: usize) -> Reply<'_, Pruned> {
        self.postgres.prune(limit)
    }

    fn leave(&self, node: NodeId) -> Reply<'_, ()> {
        self.postgres.leave(node)
    }
}

impl Inspect for Joined {
    fn task(&self, id: TaskId) -> Reply<'_, Option<TaskInfo>> {
        self.postgres.task(id)
    }

    fn tasks(&self, filter: TaskFilter, page: Page) -> Reply<'_, Vec<TaskInfo>> {
        self.postgres.tasks(filter, page)
    }

    fn counts(&self) -> Reply<'_, Vec<Count>> {
        self.postgres.counts()
    }

    fn schedule(&self, name: String, key: String) -> Reply<'_, Option<StoredSchedule>> {
        self.postgres.schedule(name, key)
    }

    fn schedules(&self, page: SchedulePage) -> Reply<'_, Vec<StoredSchedule>> {
        self.postgres.schedules(page)
    }

    fn backlog(&self) -> Reply<'_, Vec<Backlog>> {
        self.postgres.backlog()
    }
}
