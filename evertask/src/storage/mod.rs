//! Where tasks live: the two traits a storage implements, and what passes between it and the runtime.
//!
//! A [`Storage`] knows neither handlers nor retry rules. Each of its methods is one whole transition, atomic on its own;
//! what is to become of a task has been decided before ([`judge`](crate::verdict::judge)). [`Inspect`] is for reads.
//!
//! # What every storage promises
//! - **Any write may be repeated**, since its reply may be lost. [`enqueue`](Storage::enqueue) goes by task id,
//!   [`claim`](Storage::claim) by claim id, [`settle`](Storage::settle) by lease.
//! - **Fenced.** Each claim gives a task a new lease number, which only ever grows. A write with an older one changes nothing
//!   and is told so.
//! - **One clock.** Delays come in as durations and are added to the storage's own clock; what is due is what that clock says.
//! - **Waking is a hint.** After a commit the storage rings its [`Bell`]; correctness never depends on it.
//!
//! The laws are executable: `evertask::storage::conformance` (feature `conformance`) tests any storage against all of them.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use uuid::Uuid;

use crate::{
    body::Body,
    failure::Failure,
    policy::Keep,
    task::{AttemptEnd, TaskId, TaskInfo, TaskState},
    verdict::Verdict,
};

mod bell;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod rules;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "postgres")]
pub use self::postgres::{Postgres, PostgresOptions};
#[cfg(feature = "sqlite")]
pub use self::sqlite::{Sqlite, SqliteOptions};
pub use self::{
    bell::Bell,
    clock::{Clock, ManualClock},
    error::{StorageError, StorageErrorKind},
    memory::Memory,
};

/// A boxed future, as the methods of these traits return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What most methods of a storage return.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, StorageError>>;

/// The identity of one running runtime: random at every start, never reused.
pub type NodeId = Uuid;

/// Where tasks are kept and by which they change state. See the [module](self) for what all its methods promise.
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// What is rung after a commit that may give someone in this process something to do.
    fn bell(&self) -> &Bell;

    /// True if a node has to say every few seconds that it lives ([`renew`](Self::renew)); false where the storage knows it by
    /// itself, as by a lock that the operating system takes back from a dead process.
    fn needs_beats(&self) -> bool;

    /// ∅ → node. Announces a node; from now on it counts as alive until it leaves or dies.
    fn join(&self, node: Node) -> Reply<'_, ()>;

    /// ∅ → pending, all of them or none.
    ///
    /// A task whose id is stored already is left alone and reported as created. A key that a pending task of the same handler
    /// name holds replaces that task in place: payload, queue, priority, due time, all options, tries and other counters from
    /// the start, no error; id, creation time, lease, and the attempts written down stay, and the id of the new task is not
    /// stored. A key that a running task holds keeps that one as it is. Within one batch a later task meets the key of an
    /// earlier one just so.
    ///
    /// A replacement may be repeated too: a task remembers the id that replaced it last, and a task with that id is reported
    /// as a replacement and changes nothing, also once the replaced task has run.
    ///
    /// If one task of the batch cannot be stored (an empty, overlong or control-character-bearing name, queue, key or tag, too
    /// many tags), none is, and the error is [`Rejected`](StorageErrorKind::Rejected). All text is compared by bytes. The answers
    /// come in the order of the tasks. At most [`BATCH_MAX`](crate::bounds::BATCH_MAX) tasks.
    fn enqueue(&self, tasks: Vec<NewTask>) -> Reply<'_, Vec<Enqueued>>;

    /// Pending, due → running, lease + 1, at most as many as there is room for.
    ///
    /// Only tasks of the handlers and queues in the claim: queues in the order given, inside a queue by priority (higher
    /// first), then due time, then id. The first of each queue, up to its room and to the slots of the claim as a whole, are
    /// marked as begun; those taken ahead are not, and take no slot.
    ///
    /// A suspect (lost [`SUSPECT_AFTER`](crate::verdict::SUSPECT_AFTER) times) is given out only if the claim asks for
    /// suspects, and then one at most, to begin at once, and nothing else. A task that has expired is cancelled instead, for
    /// the reason `expired`, and reported; a storage may clear away so many at once and leave the rest to the next claim
    /// ([`more`](Claimed::more)). The cost does not depend on what else is stored: not on tasks that have ended, are due later,
    /// are in other queues, or of handlers not asked for, of whatever priority.
    ///
    /// The same claim id again returns the tasks that claim got and the node still holds, and takes no others. A claim of which
    /// the node holds nothing (any more) is a new one. Claim ids start at 1.
    fn claim(&self, claim: Claim) -> Reply<'_, Claimed>;

    /// Running → what the verdict says, with its effects, for each one whose lease is the current one.
    ///
    /// | verdict | state | due | tries spent | other counters | kept |
    /// |---|---|---|---|---|---|
    /// | complete | completed | as it was | + 1 | as they were | output; no error; effects happen |
    /// | fail | failed | as it was | + 1 | as they were | error of the attempt |
    /// | cancel | cancelled | as it was | + 1 | as they were | the reason as error |
    /// | retry | pending | now + delay | + 1 | cleared: it has shown that it can end | error of the attempt |
    /// | snooze | pending | now + delay | as it was | cleared | error of the attempt |
    /// | unreadable | pending | now + delay | as it was | unreadable + 1 | error of the attempt |
    /// | rescue | pending | as it was | as it was | losses + 1 if started, lost alone + 1 if alone | error of the attempt |
    /// | interrupt, release | pending | as it was | as it was | as they were | error of the attempt |
    ///
    /// An attempt without an error leaves the error that was said before. The last
    /// [`ATTEMPTS_KEPT`](crate::bounds::ATTEMPTS_KEPT) attempts are kept. Text is made storable: NUL becomes U+FFFD, and it is
    /// cut at [`ERROR_MAX`](crate::bounds::ERROR_MAX).
    ///
    /// A cancel that was asked for meanwhile wins over every verdict: the task ends as cancelled, its output is dropped, its
    /// effects do not happen; the reason is that of the verdict if it is a cancel too, else `cancelled while it ran`.
    ///
    /// A settlement repeated is `Applied` with the state the task is in, and changes nothing. It is a repeated one if the
    /// attempt written down under its lease ended in the same way, or, where none is written down, if its lease is still the
    /// latest and the task is in the state it leads to, or cancelled. If the task is gone, it is one if it would have deleted
    /// it. All others are `Refused`.
    ///
    /// An item that cannot be stored, since an effect is a task that cannot be, is `Unstorable`, and does not keep the others
    /// from being stored. The answers come in the order of the batch.
    fn settle(&self, batch: Vec<Settlement>) -> Reply<'_, Vec<Settled>>;

    /// Says that the node is alive, marks tasks it has begun meanwhile, and returns all that storage believes it holds.
    ///
    /// A mark under another lease than the current one, or for a task that another node holds, is passed over. A node that had
    /// left, or was taken for dead, is known again from here on.
    fn renew(&self, beat: Beat) -> Reply<'_, Vec<Held>>;

    /// Nodes other than this one that hold tasks, and what is known of their life. One that has left or never joined is dead.
    fn peers(&self, node: NodeId) -> Reply<'_, Vec<Peer>>;

    /// Running → running under another node, lease + 1: takes tasks from a dead node, so that the taker can judge and settle
    /// them. At most `limit`, which is at most 1,000; to be repeated until none come.
    ///
    /// The taker holds them by no claim and has not begun them, so if it dies too, that is no further loss. Suspects that had
    /// begun come first: whether one was [`alone`](Lost::alone) can only be seen while the others are still there. A cancel
    /// that was asked for stays asked for.
    fn seize(&self, from: NodeId, by: NodeId, limit: usize) -> Reply<'_, Vec<Lost>>;

    /// Pending → cancelled, for the reason `cancelled`; running → a cancel is asked for; final → refused.
    fn cancel(&self, id: TaskId, keep: Keep) -> Reply<'_, Cancel>;

    /// Final → pending, due now, tries and other counters from the start, without output, error, and expiry, but with its lease
    /// and the attempts written down; pending → due now, or as it was if due already.
    fn revive(&self, id: TaskId) -> Reply<'_, Revive>;

    /// Final and out of its time → ∅; pending and expired → cancelled, for the reason `expired`, and kept one more day. At most
    /// `limit` of each, at most 10,000.
    fn prune(&self, limit: usize) -> Reply<'_, Pruned>;

    /// Node → ∅. What it still holds counts as lost at once.
    fn leave(&self, node: NodeId) -> Reply<'_, ()>;
}

/// Reads. Nothing here changes anything.
pub trait Inspect: fmt::Debug + Send + Sync + 'static {
    /// All that is stored about one task.
    fn task(&self, id: TaskId) -> Reply<'_, Option<TaskInfo>>;

    /// Tasks that match, newest first, at most [`PAGE_MAX`](crate::bounds::PAGE_MAX) and without their attempts.
    fn tasks(&self, filter: TaskFilter, page: Page) -> Reply<'_, Vec<TaskInfo>>;

    /// How many tasks there are, by queue, handler and state. May read the whole table: for people, not for loops.
    fn counts(&self) -> Reply<'_, Vec<Count>>;

    /// What is due and not running, by queue and handler, whoever may know them.
    fn backlog(&self) -> Reply<'_, Vec<Backlog>>;
}

/// A storage that can be read as well, as all of ours can.
pub trait FullStorage: Storage + Inspect {}

impl<T: Storage + Inspect> FullStorage for T {}

/// A node as it announces itself.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Node {
    /// Its identity.
    pub id: NodeId,
    /// The host it runs on, for people to read; nothing is decided by it.
    pub host: String,
    /// Its process, likewise.
    pub pid: u32,
    /// The version of the program.
    pub binary: String,
    /// The handlers it knows.
    pub handlers: Arc<[Known]>,
    /// The queues it serves.
    pub queues: Vec<String>,
    /// How long its signs of life may stand still before others take it for dead.
    pub lease: Duration,
    /// How long a storage that sends signs of life by itself goes on with that while the node's runtime does not
    /// [`renew`](Storage::renew).
    pub stall_limit: Duration,
}

impl Node {
    /// A node of this process with a new identity of its own, random but for the time in front.
    #[must_use]
    pub fn new(handlers: Arc<[Known]>, queues: Vec<String>) -> Self {
        Self {
            id: Uuid::now_v7(),
            host: std::env::var("HOSTNAME").unwrap_or_default(),
            pid: std::process::id(),
            binary: String::new(),
            handlers,
            queues,
            lease: Duration::from_secs(15),
            stall_limit: Duration::from_secs(300),
        }
    }
}

/// A handler a node knows: tasks of this name with this payload version or an older one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Known {
    /// The stored name, or an alias.
    pub name: Arc<str>,
    /// The newest payload version it can read.
    pub version: u32,
}

/// A task to be stored.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NewTask {
    /// Its id, made before the first try to store it.
    pub id: TaskId,
    /// The stored name of its handler.
    pub name: Arc<str>,
    /// The version of its payload.
    pub version: u32,
    /// Its queue.
    pub queue: Arc<str>,
    /// Higher goes first inside the queue.
    pub priority: i16,
    /// When it may run.
    pub due: Due,
    /// How long after it is stored it is no longer worth starting.
    pub expires: Option<Duration>,
    /// Unique among the live tasks of the same name.
    pub key: Option<String>,
    /// For finding it again.
    pub tags: BTreeMap<String, String>,
    /// The arguments.
    pub payload: Body,
    /// Attempts after the first, if this task has its own number.
    pub retries: Option<u32>,
    /// Its own timeout: `Some(None)` = none at all.
    pub timeout: Option<Option<Duration>>,
}

impl NewTask {
    /// A task due now, in the queue `default`, without options.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, payload: Body) -> Self {
        Self {
            id: TaskId::new(),
            name: name.into(),
            version: 1,
            queue: "default".into(),
            priority: 0,
            due: Due::Now,
            expires: None,
            key: None,
            tags: BTreeMap::new(),
            payload,
            retries: None,
            timeout: None,
        }
    }
}

/// When a new task may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// At once.
    Now,
    /// This long after it is stored, by the storage's clock.
    After(Duration),
    /// From this instant on; one that has passed is now.
    At(SystemTime),
}

/// What became of a task that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enqueued {
    /// The id under which it is stored: its own, or that of the task which holds its key.
    pub id: TaskId,
    /// What happened.
    pub how: Dispatched,
}

/// What a dispatch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dispatched {
    /// A new task was stored.
    Created,
    /// A pending task with the same key took the new payload and options; it kept its id.
    Replaced,
    /// A task with the same key is running; it was left as it is, and nothing was stored.
    Existing,
}

/// A wish for tasks.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Claim {
    /// The number of this wish among all of the node; the same number again returns the same tasks.
    pub id: u64,
    /// Who asks.
    pub node: NodeId,
    /// What it can run.
    pub handlers: Arc<[Known]>,
    /// Where it has room, in the order in which it wants to be served.
    pub queues: Vec<Room>,
    /// Room on the node as a whole for tasks that begin at once.
    pub slots: usize,
    /// Ask for one suspect and nothing else.
    pub suspect: bool,
    /// How long a task is kept that turns out to be expired.
    pub keep_expired: Keep,
}

impl Claim {
    /// A claim for up to `slots` tasks of these handlers, without queues yet.
    #[must_use]
    pub fn new(id: u64, node: NodeId, handlers: Arc<[Known]>, slots: usize) -> Self {
        Self {
            id,
            node,
            handlers,
            queues: Vec::new(),
            slots,
            suspect: false,
            keep_expired: Keep::Forever,
        }
    }

    /// Adds a queue with room for `slots` tasks that begin at once and `ahead` more that wait for their turn.
    #[must_use]
    pub fn queue(mut self, name: impl Into<Arc<str>>, slots: usize, ahead: usize) -> Self {
        self.queues.push(Room { queue: name.into(), slots, ahead });
        self
    }
}

/// Room for tasks of one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// The queue.
    pub queue: Arc<str>,
    /// How many may begin at once.
    pub slots: usize,
    /// How many more may be held ready. They count as not begun until said otherwise.
    pub ahead: usize,
}

/// What a claim got.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Claimed {
    /// The tasks, now held by the node: those that begin at once first.
    pub tasks: Vec<ClaimedTask>,
    /// Tasks that had expired and are now cancelled.
    pub expired: Vec<Ended>,
    /// More tasks of these handlers and queues are due than there was room for, suspects apart.
    pub more: bool,
    /// A suspect of these handlers and queues is due, and was not taken.
    pub suspect_due: bool,
    /// How long until the next task of these handlers and queues becomes due, if one is stored; `None` if there are
    /// [`more`](Self::more) already.
    pub next_due: Option<Duration>,
}

/// A task that ended without an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The task.
    pub id: TaskId,
    /// The name of its handler.
    pub name: Arc<str>,
    /// Its queue.
    pub queue: Arc<str>,
    /// Tries spent.
    pub attempt: u32,
}

/// A task in the hands of a node.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClaimedTask {
    /// The task.
    pub id: TaskId,
    /// The right to run it: goes with every later write.
    pub lease: u64,
    /// The stored name, possibly an alias.
    pub name: Arc<str>,
    /// The version of the payload.
    pub version: u32,
    /// Its queue.
    pub queue: Arc<str>,
    /// Its priority.
    pub priority: i16,
    /// Which try this is: 1, 2, …
    pub attempt: u32,
    /// The arguments.
    pub payload: Body,
    /// Its own number of retries.
    pub retries: Option<u32>,
    /// Its own timeout: `Some(None)` = none at all.
    pub timeout: Option<Option<Duration>>,
    /// How long after it was due it was claimed.
    pub waited: Duration,
    /// It is marked as begun; otherwise it was taken ahead.
    pub begun: bool,
    /// How often its payload could not be read.
    pub unreadable: u32,
    /// How often a node died while it ran.
    pub losses: u32,
    /// How often it was lost as a suspect, alone.
    pub lost_alone: u32,
}

/// The end of an attempt.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settlement {
    /// The task.
    pub id: TaskId,
    /// The lease under which the attempt ran.
    pub lease: u64,
    /// What is to become of the task.
    pub verdict: Verdict,
    /// What it returned.
    pub output: Option<Body>,
    /// Why what it returned could not be kept.
    pub output_error: Option<String>,
    /// The attempt as it is to be written down; `None` for one that simply completed or never began.
    pub attempt: Option<AttemptRecord>,
    /// How long the task is kept, should this end it: completed, failed, cancelled.
    pub keep: KeepBy,
    /// How long ago the attempt began. A task that was not marked as begun is taken to have begun then, if it completed or the
    /// attempt is written down.
    pub ran: Duration,
    /// What else is to happen in the same commit if the task completes.
    pub effects: Vec<Effect>,
}

impl Settlement {
    /// A settlement with nothing but a verdict.
    #[must_use]
    pub fn new(id: TaskId, lease: u64, verdict: Verdict) -> Self {
        Self {
            id,
            lease,
            verdict,
            output: None,
            output_error: None,
            attempt: None,
            keep: KeepBy::default(),
            ran: Duration::ZERO,
            effects: Vec::new(),
        }
    }
}

/// How long a task is kept by the way it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepBy {
    /// If it completed.
    pub completed: Keep,
    /// If it failed.
    pub failed: Keep,
    /// If it was cancelled.
    pub cancelled: Keep,
}

impl Default for KeepBy {
    fn default() -> Self {
        Self { completed: Keep::Forever, failed: Keep::Forever, cancelled: Keep::Forever }
    }
}

/// One attempt to be written down.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    /// Who ran it.
    pub node: NodeId,
    /// The version of the program that ran it.
    pub binary: Arc<str>,
    /// How it ended.
    pub end: AttemptEnd,
    /// What went wrong.
    pub error: Option<String>,
    /// The same for errors that differ in numbers only.
    pub fingerprint: Option<u64>,
}

impl AttemptRecord {
    /// The record of an attempt that ended so.
    #[must_use]
    pub fn new(node: NodeId, binary: Arc<str>, end: AttemptEnd, failure: Option<&Failure>) -> Self {
        Self {
            node,
            binary,
            end,
            error: failure.map(|failure| failure.message.clone()),
            fingerprint: failure.map(Failure::fingerprint),
        }
    }
}

/// Something that commits together with a completion.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Effect {
    /// Another task is stored.
    Enqueue(Box<NewTask>),
}

/// What became of a settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settled {
    /// Stored, now or already before; the task is in this state. A cancel that won shows here.
    Applied(TaskState),
    /// The lease was not the current one; nothing was changed.
    Refused,
    /// This item cannot be stored as it is; nothing was changed. The text says why.
    Unstorable(String),
}

/// A sign of life.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Beat {
    /// Whose.
    pub node: NodeId,
    /// Tasks taken ahead whose attempts have begun since.
    pub begun: Vec<(TaskId, u64)>,
}

impl Beat {
    /// A sign of life of this node.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self { node, begun: Vec::new() }
    }
}

/// A task that storage believes a node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The task.
    pub id: TaskId,
    /// Under which lease.
    pub lease: u64,
    /// By which claim; 0 for one that was seized.
    pub claim: u64,
    /// It is to be cancelled.
    pub cancel: bool,
}

/// Another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Which.
    pub node: NodeId,
    /// What is known of it.
    pub life: Life,
}

/// What a storage knows of a node's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It lives.
    Alive,
    /// It is dead for certain.
    Dead,
    /// Only its signs of life are known. One that stays the same for a whole lease, seen by an observer who was connected
    /// all the time, means death.
    Beats(u64),
}

/// A task taken from a dead node, to be judged by the one who took it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Lost {
    /// The task.
    pub id: TaskId,
    /// The taker's lease.
    pub lease: u64,
    /// The name of its handler.
    pub name: Arc<str>,
    /// Its queue.
    pub queue: Arc<str>,
    /// Which try it was.
    pub attempt: u32,
    /// The dead node.
    pub node: NodeId,
    /// The attempt had begun.
    pub started: bool,
    /// How long ago.
    pub ran: Duration,
    /// It was a suspect, and nothing else had begun on that node.
    pub alone: bool,
    /// How often it was lost so before.
    pub lost_alone: u32,
}

/// What became of a wish to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancel {
    /// It was pending and is cancelled.
    Done,
    /// It is running; it will be stopped, and whatever it does until then, it will end as cancelled.
    Asked,
    /// It had ended already, so; nothing was changed.
    TooLate(TaskState),
    /// No such task is stored.
    Unknown,
}

/// What became of a wish to run a task again, or now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revive {
    /// It had ended and is pending again, due now, tries from the start.
    Revived,
    /// It was pending and is due now.
    Hastened,
    /// It is running; nothing was changed.
    Running,
    /// Another live task holds its key; nothing was changed.
    KeyTaken(TaskId),
    /// No such task is stored.
    Unknown,
}

/// What a round of pruning did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Pruned {
    /// How many ended tasks were deleted.
    pub deleted: usize,
    /// Pending tasks that had expired and are now cancelled.
    pub expired: Vec<Ended>,
    /// How long until there is something to prune again; zero if the limit left something over.
    pub next: Option<Duration>,
}

/// Which tasks to list. An empty filter matches all.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TaskFilter {
    /// Of this handler.
    pub name: Option<String>,
    /// In this queue.
    pub queue: Option<String>,
    /// In this state.
    pub state: Option<TaskState>,
    /// With this tag.
    pub tag: Option<(String, String)>,
    /// With a key that begins so.
    pub key_prefix: Option<String>,
    /// Stored at or after this instant.
    pub created_from: Option<SystemTime>,
    /// Stored before this instant.
    pub created_to: Option<SystemTime>,
    /// With an attempt that failed with this fingerprint.
    pub fingerprint: Option<u64>,
}

/// Which part of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only tasks whose id is smaller: the last id of the page before.
    pub before: Option<TaskId>,
    /// At most so many, 1 to [`PAGE_MAX`](crate::bounds::PAGE_MAX).
    pub limit: usize,
}

impl Default for Page {
    fn default() -> Self {
        Self { before: None, limit: 50 }
    }
}

/// A number of tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// In this queue.
    pub queue: String,
    /// Of this handler.
    pub name: String,
    /// In this state.
    pub state: TaskState,
    /// So many.
    pub tasks: u64,
}

/// Tasks that are due and wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// In this queue.
    pub queue: String,
    /// Of this handler.
    pub name: String,
    /// With this payload version.
    pub version: u32,
    /// So many are due; counted up to 10,000.
    pub due: u64,
    /// How long the first of them has been due.
    pub oldest: Duration,
}
