//! Tasks in MariaDB or MySQL, shared by any number of processes and machines.
//!
//! One thread holds all connections but the heart's ([`thread`]). Those that are hot belong to an [`actor`] each, which puts what
//! waits for it into one transaction; what is asked now and then goes over a [`pool`]. Both stand on a [`line`] that is made
//! again when it breaks. Statements are made as texts ([`script`], [`literal`]) and sent many at a time. What a transition does is
//! in the file of its name: [`enqueue`], [`claim`], [`settle`] and [`complete`], [`outside`], [`node`], [`schedules`]. What other
//! processes did is heard of by an [`ear`], which they wake ([`crier`]), and by a [`look`].

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    bounds::BATCH_MAX,
    policy::Keep,
    storage::{
        Backlog, Beat, Bell, Cancel, Claim, Claimed, Count, DueSchedules, Enqueued, Held, Inspect,
        Known, Lost, NewTask, Node, NodeId, Page, Peer, Pruned, Reply, Revive, Roll,
        ScheduleChange, ScheduleChanged, SchedulePage, Settled, Settlement, Storage, StorageError,
        StorageErrorKind, StoredSchedule, TaskFilter, rules,
        server::{Actor, Heart, Pool, Purpose, Thread, beat, closed},
    },
    task::{TaskId, TaskInfo},
};

mod address;
mod claim;
mod complete;
mod connection;
mod crier;
mod ear;
mod enqueue;
mod error;
mod inspect;
mod join;
mod lane;
mod literal;
mod look;
mod migrations;
mod node;
mod options;
mod outside;
mod rings;
mod row;
mod safety;
mod schedules;
mod script;
mod settle;
mod site;
#[cfg(feature = "sqlx")]
mod sqlx;
#[cfg(test)]
mod tests;
mod verdicts;
mod written;

pub use self::options::MySqlOptions;
use self::{options::Open, site::Site};

/// Tasks in one set of tables of a MariaDB or MySQL database. Cheap to clone; all clones are one.
///
/// MariaDB 10.6 or newer, tested on 10.11. MySQL 8 has what is needed too, but has not been tried.
///
/// Any number of processes on any number of machines may use the same tables. A node that dies is noticed by the others when
/// its signs of life have stood still for a lease. What is done in this process is known here at once. The server has no notifications,
/// but a node that waits for tasks is woken by other processes all the same, and all look about once a second
/// ([`look_every`](MySqlOptions::look_every)).
///
/// Connections are opened when they are needed, and again when they break; until then calls fail as unavailable, and the
/// runtime repeats them. When the last clone is dropped, what was asked for is still done; [`close`](Self::close) waits for
/// that. Between the program and the server there may stand a proxy, as long as it leaves each connection its session.
#[derive(Debug, Clone)]
pub struct MySql(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    site: Arc<Site>,
    heart: Arc<Heart>,
    /// Taken when it is closed.
    lines: Mutex<Option<Arc<Lines>>>,
    ended: Mutex<[watch::Receiver<()>; 2]>,
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

impl MySql {
    /// Connects to a database, as in `mysql://user:password@host/database`, and makes tables there whose names begin with
    /// `evertask_` if there are none. In a name or a password `/`, `?` and `#` are written `%2F`, `%3F` and `%23`, and an `@` behind the
    /// host is `%40`.
    ///
    /// With the feature `mysql-tls` TLS is spoken where the url asks for it: with `ssl-mode=REQUIRED` only against listeners, with
    /// `ssl-mode=VERIFY_IDENTITY` with a server that proves by its certificate to be the host of the url. `ssl-ca=/file.pem` names
    /// the authorities to trust, instead of those known to the public, and makes `REQUIRED` as strict. Through a socket of this
    /// machine none is spoken. The cryptography is what the process has set as its default for `rustls`, or else `ring`, which then
    /// is made the default.
    ///
    /// # Errors
    /// When it cannot be reached, does not sync its commits, only reads, is too old, or its tables were made by a newer
    /// evertask.
    pub async fn connect(url: impl AsRef<str>) -> Result<Self, StorageError> {
        Self::options().connect(url).await
    }

    /// Settings that differ from the usual ones.
    pub fn options() -> MySqlOptions {
        MySqlOptions::default()
    }

    /// The SQL that makes the tables whose names begin so, or brings them up to date, for people whose database administrator
    /// runs it. It may be run again.
    #[must_use]
    pub fn migrations_sql(prefix: &str) -> String {
        migrations::script(prefix, migrations::STEPS)
    }

    /// Does what was asked for, ends all connections, and answers when that is done. All later calls fail, on all clones.
    ///
    /// Nodes of this storage give no signs of life any more.
    pub async fn close(&self) {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner).take();
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
        look_every: Duration,
    ) -> Result<Self, StorageError> {
        let (thread, ended) = Thread::start("evertask-mysql")?;
        // Of its own: however much there is to be read and written, a sign of life is not late.
        let (pulse, pulse_ended) = Thread::start("evertask-heart")?;
        let thread = Arc::new(thread);
        let heart = Arc::new(Heart::default());
        let between = Pool::new(&thread, &site, Purpose::Write, 1);
        between.run(open).await?;
        let (_open, is_open) = watch::channel(());
        let look = look::run(Arc::clone(&site), Arc::clone(&heart), look_every, is_open.clone());
        thread.spawn(look);
        thread.spawn(ear::run(Arc::clone(&site), is_open.clone()));
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
        Ok(Self(Arc::new(Inner { site, heart, lines, ended })))
    }

    fn lines(&self) -> Result<Arc<Lines>, StorageError> {
        let lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        lines.ok_or_else(|| closed(&self.0.site.settings.place))
    }
}

impl Storage for MySql {
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

impl Inspect for MySql {
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

    fn schedule(&self, name: String, key: String) -> Reply<'_, Option<StoredSchedule>> {
        Box::pin(async move { self.lines()?.readers.run(schedules::ReadOne { name, key }).await })
    }

    fn schedules(&self, page: SchedulePage) -> Reply<'_, Vec<StoredSchedule>> {
        Box::pin(async move { self.lines()?.readers.run(schedules::List(page)).await })
    }
}
