//! Tasks in one SQLite file, shared by any number of processes of one machine.
//!
//! One thread writes ([`writer`]), a few connections read ([`readers`]). What a transition does is in the file of its name:
//! [`enqueue`], [`claim`], [`settle`], [`outside`], [`node`].

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    bounds::BATCH_MAX,
    policy::Keep,
    storage::{
        Backlog, Beat, Bell, Cancel, Claim, Claimed, Clock, Count, DueSchedules, Enqueued, Held,
        Inspect, Known, Life, Lost, NewTask, Node, NodeId, Page, Peer, Pruned, Reply, Revive, Roll,
        ScheduleChange, ScheduleChanged, SchedulePage, Settled, Settlement, Storage, StorageError,
        StorageErrorKind, StoredSchedule, TaskFilter, rules,
    },
    task::{TaskId, TaskInfo},
};

mod claim;
mod connection;
mod crowd;
mod enqueue;
mod error;
mod filesystem;
mod held;
mod hot;
mod inspect;
mod join;
mod lane;
mod liveness;
mod migrations;
mod node;
mod options;
mod outside;
mod patience;
mod readers;
mod request;
mod row;
mod schedules;
mod settle;
#[cfg(test)]
mod tests;
mod transaction;
mod watch;
mod writer;

pub use self::options::SqliteOptions;
use self::{
    error::closed, liveness::Liveness, readers::Readers, request::Turn, watch::Watch,
    writer::Writer,
};

/// Tasks in one SQLite file. Cheap to clone; all clones are one.
///
/// Any number of processes of one machine may use the same file, also one that holds other tables: ours begin with `evertask_`.
/// Beside `tasks.db` there are `tasks.db-wal` and `tasks.db-shm`, which belong to SQLite, and the directory `tasks.db-nodes`,
/// where each running node holds a lock by which the others know that it lives. A backup is made with `VACUUM INTO` or SQLite's
/// backup interface, not by copying the file.
///
/// When the last clone is dropped, what was asked for is still written, and the file is closed soon after; [`close`](Self::close)
/// waits for that.
#[derive(Debug, Clone)]
pub struct Sqlite(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    bell: Arc<Bell>,
    clock: Clock,
    // Before the writer, whose connection copies the log and removes it if it is the last one.
    readers: Readers,
    writer: Writer,
    liveness: Arc<Liveness>,
    watch: Mutex<Option<Watch>>,
}

impl Sqlite {
    /// Opens the file, or makes it if there is none, with every commit synced to the disk.
    ///
    /// # Errors
    /// When it is no database, is damaged, cannot be written, was made by a newer evertask, or lies where its locks do not hold,
    /// as on a network file system. Nothing is changed then.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        Self::options().open(path).await
    }

    /// Settings that differ from the usual ones.
    pub fn options() -> SqliteOptions {
        SqliteOptions::default()
    }

    /// Writes what was asked for, closes the file, and answers when that is done. All later calls fail, on all clones.
    ///
    /// Tasks that nodes of this storage still hold count as lost.
    pub async fn close(&self) {
        self.0.watch().take();
        self.0.readers.close().await;
        self.0.writer.close().await;
        self.0.liveness.leave_all();
    }

    /// How many transactions were committed and how many snapshots read: for the benchmarks.
    #[doc(hidden)]
    #[must_use]
    pub fn traffic(&self) -> (u64, u64) {
        (self.0.writer.commits(), self.0.readers.reads())
    }
}

impl Inner {
    /// From now on the node lives, if it did not before, and other processes are watched.
    async fn appear(self: &Arc<Self>, node: NodeId) -> Result<(), StorageError> {
        self.with_locks(move |locks| locks.join(node)).await?;
        self.keep_watch();
        Ok(())
    }

    /// Watches other processes from now on.
    fn keep_watch(self: &Arc<Self>) {
        let mut watch = self.watch();
        if watch.is_none() {
            *watch = Watch::start(&self.path, Arc::downgrade(self));
        }
    }

    fn watch(&self) -> std::sync::MutexGuard<'_, Option<Watch>> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with lock files, on a thread where that may block.
    async fn with_locks<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Liveness) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let this = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&this.liveness)).await;
        done.map_err(|_| closed(&self.path))?.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::StorageFull => StorageErrorKind::Full,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    StorageErrorKind::ReadOnly
                }
                _ => StorageErrorKind::Other,
            };
            let file = self.path.display();
            let message = format!(
                "the lock files in `{file}-nodes`, which tell the nodes that live, cannot be used: {error}; check the rights on \
                 that directory"
            );
            StorageError::new(kind, message).caused_by(error)
        })
    }
}

impl Storage for Sqlite {
    fn bell(&self) -> &Bell {
        &self.0.bell
    }

    fn needs_beats(&self) -> bool {
        false
    }

    fn join(&self, node: Node) -> Reply<'_, ()> {
        Box::pin(async move {
            // First the lock: a node without one is dead to the others.
            self.0.appear(node.id).await?;
            let join = move |tx: &mut transaction::Transaction<'_>| node::join(tx, &node);
            self.0.writer.ask(Turn::Between, 1, "cannot announce a node", join).await
        })
    }

    fn enqueue(&self, tasks: Vec<NewTask>) -> Reply<'_, Vec<Enqueued>> {
        Box::pin(async move {
            if tasks.len() > BATCH_MAX {
                let message = format!("a batch of {} tasks; at most {BATCH_MAX} fit", tasks.len());
                return Err(StorageError::new(StorageErrorKind::Rejected, message));
            }
            tasks.iter().try_for_each(rules::check_new)?;
            let rows = tasks.len();
            self.0
                .writer
                .ask(Turn::Enqueue, rows, "cannot store tasks", move |tx| {
                    enqueue::enqueue(tx, &tasks)
                })
                .await
        })
    }

    fn enqueue_one(&self, task: NewTask) -> Reply<'_, Enqueued> {
        Box::pin(async move {
            rules::check_new(&task)?;
            let store =
                move |tx: &mut transaction::Transaction<'_>| enqueue::enqueue_one(tx, &task);
            self.0.writer.ask(Turn::Enqueue, 1, "cannot store a task", store).await
        })
    }

    fn claim(&self, claim: Claim) -> Reply<'_, Claimed> {
        let rows = claim.queues.iter().map(|room| room.slots.saturating_add(room.ahead));
        let rows = rows.fold(0, usize::saturating_add).min(BATCH_MAX);
        Box::pin(
            self.0
                .writer
                .ask(Turn::Claim, rows, "cannot claim tasks", move |tx| claim::claim(tx, &claim)),
        )
    }

    fn settle(&self, batch: Vec<Settlement>) -> Reply<'_, Vec<Settled>> {
        let rows = batch.len();
        Box::pin(
            self.0.writer.ask(Turn::Settle, rows, "cannot settle tasks", move |tx| {
                settle::settle(tx, &batch)
            }),
        )
    }

    fn renew(&self, beat: Beat) -> Reply<'_, Vec<Held>> {
        Box::pin(async move {
            self.0.appear(beat.node).await?;
            let rows = beat.begun.len();
            let renew = move |tx: &mut transaction::Transaction<'_>| node::renew(tx, &beat);
            self.0.writer.ask(Turn::Between, rows, "cannot renew a node", renew).await
        })
    }

    fn peers(&self, node: NodeId) -> Reply<'_, Vec<Peer>> {
        Box::pin(async move {
            let (holders, announced) = self
                .0
                .readers
                .read("cannot look for other nodes", |conn| {
                    Ok((node::holders(conn)?, node::announced(conn)?))
                })
                .await?;
            let (peers, gone) = self
                .0
                .with_locks(move |locks| {
                    let mut peers = Vec::new();
                    for holder in holders.into_iter().filter(|holder| *holder != node) {
                        let life = if locks.is_alive(holder)? { Life::Alive } else { Life::Dead };
                        peers.push(Peer::new(holder, life));
                    }
                    let mut gone = Vec::new();
                    for node in announced {
                        if !locks.is_alive(node)? {
                            gone.push(node);
                        }
                    }
                    Ok((peers, gone))
                })
                .await?;
            if !gone.is_empty() {
                let forget = move |tx: &mut transaction::Transaction<'_>| {
                    gone.iter().try_for_each(|node| node::forget(tx, *node))
                };
                self.0.writer.ask(Turn::Between, 1, "cannot forget dead nodes", forget).await?;
            }
            Ok(peers)
        })
    }

    fn seize(&self, from: Peer, by: NodeId, limit: usize) -> Reply<'_, Vec<Lost>> {
        let liveness = Arc::clone(&self.0.liveness);
        Box::pin(self.0.writer.ask(Turn::Between, limit, "cannot take over tasks", move |tx| {
            // Looked at under the lock of the database: whoever lives again renews after this, and hears of it. Of whom that cannot be
            // known, nothing is taken; the next look for peers says why.
            let lives = || liveness.is_held(from.node).unwrap_or(true);
            if from.node != by && (from.life != Life::Dead || lives()) {
                return Ok(Vec::new());
            }
            node::seize(tx, from.node, by, limit)
        }))
    }

    fn cancel(&self, id: TaskId, keep: Keep) -> Reply<'_, Cancel> {
        Box::pin(
            self.0.writer.ask(Turn::Between, 1, "cannot cancel a task", move |tx| {
                outside::cancel(tx, id, keep)
            }),
        )
    }

    fn revive(&self, id: TaskId) -> Reply<'_, Revive> {
        Box::pin(
            self.0.writer.ask(Turn::Between, 1, "cannot run a task again", move |tx| {
                outside::revive(tx, id)
            }),
        )
    }

    fn prune(&self, limit: usize) -> Reply<'_, Pruned> {
        Box::pin(
            self.0.writer.ask(Turn::Between, limit, "cannot prune tasks", move |tx| {
                outside::prune(tx, limit)
            }),
        )
    }

    fn change_schedules(&self, changes: Vec<ScheduleChange>) -> Reply<'_, Vec<ScheduleChanged>> {
        Box::pin(async move {
            rules::check_changes(&changes)?;
            let rows = changes.iter().map(|change| change.tasks.len() + 1).sum();
            self.0
                .writer
                .ask(Turn::Enqueue, rows, "cannot change schedules", move |tx| {
                    schedules::change(tx, &changes)
                })
                .await
        })
    }

    fn due_schedules(
        &self,
        handlers: Arc<[Known]>,
        format: u32,
        limit: usize,
    ) -> Reply<'_, DueSchedules> {
        let now = self.0.clock.micros();
        Box::pin(self.0.readers.read("cannot look for schedules", move |conn| {
            schedules::due(conn, &handlers, format, limit, now)
        }))
    }

    fn leave(&self, node: NodeId) -> Reply<'_, ()> {
        Box::pin(async move {
            self.0
                .with_locks(move |locks| {
                    locks.leave(node);
                    Ok(())
                })
                .await?;
            if !self.0.liveness.holds_any() {
                self.0.watch().take();
            }
            let leave = move |tx: &mut transaction::Transaction<'_>| node::leave(tx, node);
            self.0.writer.ask(Turn::Between, 1, "cannot sign off a node", leave).await
        })
    }
}

impl Inspect for Sqlite {
    fn task(&self, id: TaskId) -> Reply<'_, Option<TaskInfo>> {
        Box::pin(self.0.readers.read("cannot read a task", move |conn| inspect::task(conn, id)))
    }

    fn tasks(&self, filter: TaskFilter, page: Page) -> Reply<'_, Vec<TaskInfo>> {
        Box::pin(
            self.0
                .readers
                .read("cannot list tasks", move |conn| inspect::tasks(conn, &filter, page)),
        )
    }

    fn counts(&self) -> Reply<'_, Vec<Count>> {
        Box::pin(self.0.readers.read("cannot count tasks", inspect::counts))
    }

    fn roll(&self) -> Reply<'_, Roll> {
        Box::pin(async move {
            let nodes = self.0.readers.read("cannot look for nodes", inspect::nodes).await?;
            let nodes = self
                .0
                .with_locks(move |locks| {
                    let mut nodes = nodes;
                    for node in &mut nodes {
                        node.lives = locks.is_alive(node.id)?;
                    }
                    Ok(nodes)
                })
                .await?;
            Ok(Roll::new(self.0.clock.now(), nodes))
        })
    }

    fn backlog(&self) -> Reply<'_, Vec<Backlog>> {
        let now = self.0.clock.micros();
        Box::pin(
            self.0.readers.read("cannot read the backlog", move |conn| inspect::backlog(conn, now)),
        )
    }

    fn schedule(&self, name: String, key: String) -> Reply<'_, Option<StoredSchedule>> {
        Box::pin(
            self.0
                .readers
                .read("cannot read a schedule", move |conn| schedules::one(conn, &name, &key)),
        )
    }

    fn schedules(&self, page: SchedulePage) -> Reply<'_, Vec<StoredSchedule>> {
        Box::pin(
            self.0.readers.read("cannot list schedules", move |conn| schedules::list(conn, &page)),
        )
    }
}
