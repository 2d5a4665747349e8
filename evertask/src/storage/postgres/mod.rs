//! Tasks in PostgreSQL, shared by any number of processes and machines.
//!
//! One thread holds all connections but the heart's ([`thread`]). Those that are hot belong to an [`actor`] each, which puts what
//! waits for it into one transaction; what is asked now and then goes over a [`pool`]. Both stand on a [`line`] that is made
//! again when it breaks. What a transition does is in the file of its name: [`enqueue`], [`claim`], [`settle`], [`outside`],
//! [`node`].

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    bounds::BATCH_MAX,
    policy::Keep,
    storage::{
        Backlog, Beat, Bell, Cancel, Claim, Claimed, Count, DueSchedules, Enqueued, Held,
        Hindrance, Inspect, Known, Lost, NewTask, Node, NodeId, Page, Peer, Pruned, Reply, Revive,
        Roll, ScheduleChange, ScheduleChanged, SchedulePage, Settled, Settlement, Storage,
        StorageError, StorageErrorKind, StoredSchedule, TaskFilter, rules,
        server::{Actor, Heart, Pool, Purpose, Thread, beat, closed},
    },
    task::{TaskId, TaskInfo},
};

mod address;
mod batch;
mod bookmark;
mod claim;
mod columns;
mod connection;
mod crier;
mod enqueue;
mod error;
mod hindrances;
mod holders;
mod inspect;
mod join;
mod lane;
mod migrations;
mod node;
mod options;
mod outside;
mod rings;
mod row;
mod safety;
mod schedules;
#[cfg(feature = "sqlx")]
mod sessions;
mod settle;
mod site;
#[cfg(feature = "sqlx")]
mod sqlx;
#[cfg(test)]
mod tests;
#[cfg_attr(not(feature = "postgres-tls"), path = "no_tls.rs")]
mod tls;
#[cfg(feature = "sqlx")]
mod transaction;
#[cfg(feature = "sqlx")]
mod tx;
mod verdicts;

pub use self::options::PostgresOptions;
use self::{options::Open, site::Site};

/// Tasks in one schema of a PostgreSQL database. Cheap to clone; all clones are one.
///
/// Any number of processes on any number of machines may use the same schema. A node that dies is noticed by the others when
/// its signs of life have stood still for a lease; a task that is stored or ends here wakes them within milliseconds.
///
/// Connections are opened when they are needed, and again when they break; until then calls fail as unavailable, and the
/// runtime repeats them. When the last clone is dropped, what was asked for is still done; [`close`](Self::close) waits for
/// that.
#[derive(Debug, Clone)]
pub struct Postgres(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    site: Arc<Site>,
    heart: Arc<Heart>,
    /// Taken when it is closed.
    lines: Mutex<Option<Arc<Lines>>>,
    ended: Mutex<[watch::Receiver<()>; 2]>,
    /// For the transactions of handlers.
    #[cfg(feature = "sqlx")]
    sessions: sessions::Sessions,
}

/// The ways to the server.
#[derive(Debug)]
struct Lines {
    enqueue: Actor<Site, enqueue::Enqueue>,
    claim: Actor<Site, claim::Take>,
    settle: Actor<Site, settle::Settle>,
    between: Pool<Site>,
    outside: Pool<Site>,
    readers: Pool<Site>,
    /// What runs for as long as the storage is open ends when this is dropped.
    _open: watch::Sender<()>,
}

impl Postgres {
    /// Connects to a database, as in `postgres://user:password@host/database`, and makes the schema `evertask` with its tables
    /// if there is none.
    ///
    /// With the feature `postgres-tls` TLS is spoken where the url asks for it by `sslmode`, as in `libpq`: `require` only
    /// encrypts, `verify-full` makes the server prove that it is the host of the url, by a certificate of an authority in the
    /// file `sslrootcert` or, without one, of a public one.
    ///
    /// # Errors
    /// When it cannot be reached, does not sync its commits, only reads, is older than version 13, or was made by a newer
    /// evertask.
    pub async fn connect(url: impl AsRef<str>) -> Result<Self, StorageError> {
        Self::options().connect(url).await
    }

    /// Settings that differ from the usual ones.
    pub fn options() -> PostgresOptions {
        PostgresOptions::default()
    }

    /// The SQL that makes the tables in this schema, or brings them up to date, for people whose database administrator runs
    /// it. It may be run again.
    #[must_use]
    pub fn migrations_sql(schema: &str) -> String {
        migrations::script(schema, migrations::STEPS)
    }

    /// Does what was asked for, ends all connections, and answers when that is done. All later calls fail, on all clones.
    ///
    /// Nodes of this storage give no signs of life any more.
    pub async fn close(&self) {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner).take();
        #[cfg(feature = "sqlx")]
        self.0.sessions.close();
        let ended = self.0.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for mut ended in ended {
            // Nothing is ever sent: it ends when the thread does.
            while ended.changed().await.is_ok() {}
        }
    }

    async fn open(
        site: Arc<Site>,
        open: Open,
        readers: u32,
        #[cfg(feature = "sqlx")] sessions: sessions::Sessions,
    ) -> Result<Self, StorageError> {
        let (thread, ended) = Thread::start("evertask-postgres")?;
        // Of its own: however much there is to be read and written, a sign of life is not late.
        let (pulse, pulse_ended) = Thread::start("evertask-heart")?;
        let thread = Arc::new(thread);
        let heart = Arc::new(Heart::default());
        let between = Pool::new(&thread, &site, Purpose::Write, 1);
        between.run(open).await?;
        let (_open, is_open) = watch::channel(());
        thread.spawn(crier::run(Arc::clone(&site), is_open.clone()));
        pulse.spawn(beat(Arc::clone(&site), Arc::clone(&heart), node::Beats, is_open));
        let lines = Lines {
            enqueue: Actor::start(&thread, &site),
            claim: Actor::start(&thread, &site),
            settle: Actor::start(&thread, &site),
            between,
            outside: Pool::new(&thread, &site, Purpose::Write, 1),
            readers: Pool::new(&thread, &site, Purpose::Read, readers as usize),
            _open,
        };
        let lines = Mutex::new(Some(Arc::new(lines)));
        let ended = Mutex::new([ended, pulse_ended]);
        Ok(Self(Arc::new(Inner {
            site,
            heart,
            lines,
            ended,
            #[cfg(feature = "sqlx")]
            sessions,
        })))
    }

    fn lines(&self) -> Result<Arc<Lines>, StorageError> {
        let lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        lines.ok_or_else(|| closed(&self.0.site.settings.place))
    }
}

impl Storage for Postgres {
    fn bell(&self) -> &Bell {
        &self.0.site.bell
    }

    fn needs_beats(&self) -> bool {
        true
    }

    fn since_beat(&self, node: NodeId) -> Option<Duration> {
        // By an injected clock the heart does not beat.
        self.0.site.clock.is_none().then(|| self.0.heart.since_beat(node)).flatten()
    }

    fn since_away(&self) -> Option<Duration> {
        self.0.heart.since_away()
    }

    fn join(&self, node: Node) -> Reply<'_, ()> {
        Box::pin(async move {
            let join = async { self.lines()?.between.run(node::Join(node.clone())).await };
            self.0.heart.announce(&node, join).await
        })
    }

    fn enqueue(&self, tasks: Vec<NewTask>) -> Reply<'_, Vec<Enqueued>> {
        Box::pin(async move {
            if tasks.len() > BATCH_MAX {
                let message = format!("a batch of {} tasks; at most {BATCH_MAX} fit", tasks.len());
                return Err(StorageError::new(StorageErrorKind::Rejected, message));
            }
            tasks.iter().try_for_each(rules::check_new)?;
            if tasks.is_empty() {
                return Ok(Vec::new());
            }
            self.lines()?.enqueue.ask(tasks).await
        })
    }

    fn claim(&self, claim: Claim) -> Reply<'_, Claimed> {
        Box::pin(async move { self.lines()?.claim.ask(claim).await })
    }

    fn settle(&self, batch: Vec<Settlement>) -> Reply<'_, Vec<Settled>> {
        Box::pin(async move {
            if batch.is_empty() {
                return Ok(Vec::new());
            }
            self.lines()?.settle.ask(batch).await
        })
    }

    fn renew(&self, beat: Beat) -> Reply<'_, Vec<Held>> {
        Box::pin(async move {
            self.0.heart.renew(beat.node);
            self.lines()?.between.run(node::Renew(beat)).await
        })
    }

    fn peers(&self, node: NodeId) -> Reply<'_, Vec<Peer>> {
        Box::pin(async move { self.lines()?.between.run(node::Peers(node)).await })
    }

    fn seize(&self, from: Peer, by: NodeId, limit: usize) -> Reply<'_, Vec<Lost>> {
        Box::pin(async move { self.lines()?.between.run(node::Seize { from, by, limit }).await })
    }

    fn cancel(&self, id: TaskId, keep: Keep) -> Reply<'_, Cancel> {
        Box::pin(async move { self.lines()?.outside.run(outside::CancelTask { id, keep }).await })
    }

    fn revive(&self, id: TaskId) -> Reply<'_, Revive> {
        Box::pin(async move { self.lines()?.outside.run(outside::ReviveTask(id)).await })
    }

    fn prune(&self, limit: usize) -> Reply<'_, Pruned> {
        Box::pin(async move { self.lines()?.outside.run(outside::Prune(limit)).await })
    }

    fn change_schedules(&self, changes: Vec<ScheduleChange>) -> Reply<'_, Vec<ScheduleChanged>> {
        Box::pin(async move {
            rules::check_changes(&changes)?;
            if changes.is_empty() {
                return Ok(Vec::new());
            }
            self.lines()?.between.run(schedules::Change(changes)).await
        })
    }

    fn due_schedules(
        &self,
        handlers: Arc<[Known]>,
        format: u32,
        limit: usize,
    ) -> Reply<'_, DueSchedules> {
        Box::pin(async move {
            let due = schedules::Due { handlers, format, limit };
            self.lines()?.between.run(due).await
        })
    }

    fn leave(&self, node: NodeId) -> Reply<'_, ()> {
        Box::pin(async move {
            self.0.heart.leave(node);
            self.lines()?.between.run(node::Leave(node)).await
        })
    }
}

impl Inspect for Postgres {
    fn task(&self, id: TaskId) -> Reply<'_, Option<TaskInfo>> {
        Box::pin(async move { self.lines()?.readers.run(inspect::ReadTask(id)).await })
    }

    fn tasks(&self, filter: TaskFilter, page: Page) -> Reply<'_, Vec<TaskInfo>> {
        Box::pin(
            async move { self.lines()?.readers.run(inspect::ListTasks { filter, page }).await },
        )
    }

    fn counts(&self) -> Reply<'_, Vec<Count>> {
        Box::pin(async move { self.lines()?.readers.run(inspect::Counts).await })
    }

    fn roll(&self) -> Reply<'_, Roll> {
        Box::pin(async move { self.lines()?.readers.run(inspect::ReadRoll).await })
    }

    fn backlog(&self) -> Reply<'_, Vec<Backlog>> {
        Box::pin(async move { self.lines()?.readers.run(inspect::ReadBacklog).await })
    }

    fn hindrances(&self) -> Reply<'_, Vec<Hindrance>> {
        Box::pin(async move { self.lines()?.readers.run(hindrances::Hindrances).await })
    }

    fn schedule(&self, name: String, key: String) -> Reply<'_, Option<StoredSchedule>> {
        Box::pin(async move { self.lines()?.readers.run(schedules::ReadOne { name, key }).await })
    }

    fn schedules(&self, page: SchedulePage) -> Reply<'_, Vec<StoredSchedule>> {
        Box::pin(async move { self.lines()?.readers.run(schedules::List(page)).await })
    }
}
