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

use std::{any::Any, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use uuid::Uuid;

use crate::{
    policy::Keep,
    task::{TaskId, TaskInfo},
};

mod bell;
mod claim;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod handlers;
mod hindrance;
mod join;
mod listing;
mod memory;
#[cfg(feature = "mysql")]
mod mysql;
mod new_task;
mod node;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod numbers;
#[cfg(feature = "postgres")]
mod postgres;
mod request;
mod roll;
mod rules;
mod schedule;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod server;
mod settlement;
#[cfg(feature = "sqlite")]
mod sqlite;
mod transactional;

#[cfg(feature = "mysql")]
pub use self::mysql::{MySql, MySqlOptions};
#[cfg(feature = "postgres")]
pub use self::postgres::{Postgres, PostgresOptions};
#[cfg(feature = "sqlite")]
pub use self::sqlite::{Sqlite, SqliteOptions};
#[cfg(test)]
pub(crate) use self::transactional::Begin;
pub use self::{
    bell::Bell,
    claim::{Claim, Claimed, ClaimedTask, Ended, Room},
    clock::{Clock, ManualClock},
    error::{StorageError, StorageErrorKind},
    hindrance::Hindrance,
    join::JoinTx,
    listing::{Backlog, Count, Page, TaskFilter},
    memory::Memory,
    new_task::{Dispatched, Due, Enqueued, NewTask},
    node::{Beat, Claims, Held, Known, Life, Lost, Node, Peer},
    request::{Cancel, Pruned, Revive},
    roll::{NodeInfo, Roll},
    schedule::{
        DueSchedules, ScheduleChange, ScheduleChanged, SchedulePage, ScheduleRow, StoredSchedule,
    },
    settlement::{AttemptRecord, Effect, KeepBy, Settled, Settlement},
    transactional::Transactional,
};
pub(crate) use self::{
    join::{Join, JoinError, Joined},
    transactional::{Completion, Lent},
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

    /// How long ago the last sign of life of this node was sent that has arrived, where the storage sends them by itself,
    /// whatever the node's executor does; `None` where a node lives by [`renew`](Self::renew) alone, or is not here.
    fn since_beat(&self, node: NodeId) -> Option<Duration> {
        let _by_renew_alone = node;
        None
    }

    /// How long ago the storage last said that it is there for nobody: it has been ended, is starting, has no room left. While that
    /// is so, nobody takes anything from anybody. `None` if it has not, or does not say so.
    fn since_away(&self) -> Option<Duration> {
        None
    }

    /// ∅ → node. Announces a node; from now on it counts as alive until it leaves or dies. One that is there already is
    /// announced anew, and keeps what it holds.
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
    /// as a replacement and changes nothing, also once the replaced task has run. Whatever is repeated rings again for those who
    /// look for work: the first ring may have been lost with the answer.
    ///
    /// If one task of the batch cannot be stored (an empty, overlong or control-character-bearing name, queue, key or tag, too
    /// many tags), none is, and the error is [`Rejected`](StorageErrorKind::Rejected). All text is compared by bytes. The answers
    /// come in the order of the tasks. At most [`BATCH_MAX`](crate::bounds::BATCH_MAX) tasks.
    fn enqueue(&self, tasks: Vec<NewTask>) -> Reply<'_, Vec<Enqueued>>;

    /// The same for one task, as most dispatches are: a storage that needs no list for it saves two.
    fn enqueue_one(&self, task: NewTask) -> Reply<'_, Enqueued> {
        Box::pin(async move {
            let enqueued = self.enqueue(vec![task]).await?;
            let [one] = enqueued[..] else { unreachable!("one task, one answer") };
            Ok(one)
        })
    }

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
    /// latest and the task is in the state it leads to, or cancelled. It rings as the first one did, whose ring may have been lost
    /// with its answer. If the task is gone, and it would have deleted it, it is `Gone`: only the caller knows whether he sent it
    /// before. All others are `Refused`.
    ///
    /// An effect that stores a task meets keys as [`enqueue`](Self::enqueue) does; the key of the completed task is free by then.
    ///
    /// An item that cannot be stored, since an effect is a task that cannot be, is `Unstorable`, and does not keep the others
    /// from being stored. The answers come in the order of the batch.
    fn settle(&self, batch: Vec<Settlement>) -> Reply<'_, Vec<Settled>>;

    /// Says that the node is alive, marks tasks it has begun meanwhile, and returns all that storage believes it holds.
    ///
    /// A mark under another lease than the current one, or for a task that another node holds, is passed over. A node that had
    /// left, or was taken for dead, is known again from here on.
    ///
    /// Where it would take long to find all, what is held by a claim that is over as far as the node knows (see
    /// [`Beat::claims`]) may be left out for a while, but not for ever: there is something only if an answer was lost.
    fn renew(&self, beat: Beat) -> Reply<'_, Vec<Held>>;

    /// Nodes other than this one that hold tasks, and what is known of their life. One that has left or never joined is dead.
    fn peers(&self, node: NodeId) -> Reply<'_, Vec<Peer>>;

    /// Running → running under another node, lease + 1: takes tasks from a dead node, so that the taker can judge and settle
    /// them. At most `limit`, which is at most 1,000; to be repeated until none come.
    ///
    /// `from` is what [`peers`](Self::peers) said of it when the taker found it dead. If it has given a sign of life since, nothing is
    /// taken: a call may be long on its way. Of a seizure and a renewal that meet, one comes first: either the renewal
    /// no longer tells of what was taken, or nothing is.
    ///
    /// The taker holds them by no claim and does not run them, so if it dies too, that is no further loss; the first one is
    /// still told to whoever takes them then. Suspects that had begun come first: whether one was [`alone`](Lost::alone) can only
    /// be seen while the others are still there, and is not known any more of one that is taken over again. A cancel that was
    /// asked for stays asked for.
    ///
    /// From itself a node takes nothing, and is told again what it has taken over and not settled yet, under the lease that it
    /// has: for one whose answer was lost.
    fn seize(&self, from: Peer, by: NodeId, limit: usize) -> Reply<'_, Vec<Lost>>;

    /// Pending → cancelled, for the reason `cancelled`; running → a cancel is asked for; final → refused.
    fn cancel(&self, id: TaskId, keep: Keep) -> Reply<'_, Cancel>;

    /// Final → pending, due now, tries and other counters from the start, without output, error, and expiry, but with its lease
    /// and the attempts written down; pending → due now, or as it was if due already.
    fn revive(&self, id: TaskId) -> Reply<'_, Revive>;

    /// Final and out of its time → ∅; pending and expired → cancelled, for the reason `expired`, and kept one more day. At most
    /// `limit` of each, at most 10,000.
    fn prune(&self, limit: usize) -> Reply<'_, Pruned>;

    /// Schedules: of what each was to what it is to be, with the tasks that come of it; each change whole or not at all.
    ///
    /// A change happens if the schedule is at the revision it starts from; otherwise it is `Stale`, and nothing is changed. One
    /// that is repeated while the schedule is at the revision it leads to, or of a removal while there is none, is `Done` again,
    /// and so are its tasks, which go by their ids. Tasks meet keys as [`enqueue`](Self::enqueue) says.
    ///
    /// If one change of the batch cannot be stored (a name, key or task that cannot be, the same schedule twice), none is, and the error is
    /// [`Rejected`](StorageErrorKind::Rejected). At most [`BATCH_MAX`](crate::bounds::BATCH_MAX) tasks in all. The answers come
    /// in the order of the changes.
    fn change_schedules(&self, changes: Vec<ScheduleChange>) -> Reply<'_, Vec<ScheduleChanged>>;

    /// The schedules of these handlers, whatever version of them, that have come up by the storage's clock and whose format is
    /// at most this one: the longest due first, then by name and key, at most `limit`, 1 to 1,000. Changes nothing. The cost
    /// does not depend on what else is stored.
    fn due_schedules(
        &self,
        handlers: Arc<[Known]>,
        format: u32,
        limit: usize,
    ) -> Reply<'_, DueSchedules>;

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

    /// All nodes that have announced themselves and have not left, whether they live or not.
    fn roll(&self) -> Reply<'_, Roll>;

    /// What is due and not running, by queue and handler, whoever may know them.
    fn backlog(&self) -> Reply<'_, Vec<Backlog>>;

    /// What stands in its way from outside, the longest first; by default nothing that it knows of.
    fn hindrances(&self) -> Reply<'_, Vec<Hindrance>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// One schedule, by the name of its handler and its key.
    fn schedule(&self, name: String, key: String) -> Reply<'_, Option<StoredSchedule>>;

    /// Schedules in the order of name and key, both by bytes.
    fn schedules(&self, page: SchedulePage) -> Reply<'_, Vec<StoredSchedule>>;
}

/// A storage that can be read as well, as all of ours can.
///
/// As [`Any`] it can be asked whether it is the one that a caller's transaction belongs to.
pub trait FullStorage: Storage + Inspect + Any {}

impl<T: Storage + Inspect> FullStorage for T {}
