//! What can go wrong, one error for each operation.

use std::time::Duration;

use crate::{
    body::BodyError,
    bounds::BadText,
    extract::MissingState,
    handler::Location,
    schedule::ScheduleError,
    storage::{JoinError, StorageError},
    task::{TaskId, TaskState},
};

/// Why a runtime could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Nobody said where tasks are stored.
    #[error(
        "no storage was chosen; call `.storage(..)` or `.url(..)` on the builder, or set EVERTASK_URL"
    )]
    NoStorage,
    /// The url names a storage this build does not have, or is none.
    #[error("{url:?} names no storage: {why}")]
    BadUrl {
        /// The url, without password.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two handlers would run the same tasks.
    #[error(
        "two handlers are named `{name}`: one at {one}, one at {two}; give one of them another `name = \"..\"`"
    )]
    TwoHandlers {
        /// The name or alias they share.
        name: String,
        /// Where one stands.
        one: Location,
        /// Where the other stands.
        two: Location,
    },
    /// A handler takes a state that was not given.
    #[error("handler `{handler}` ({at}): {missing}")]
    MissingState {
        /// The handler.
        handler: &'static str,
        /// Where it stands.
        at: Location,
        /// What it takes.
        missing: MissingState,
    },
    /// A setting makes no sense.
    #[error("{what}: {why}")]
    BadSetting {
        /// Which one.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// No tokio runtime is running here.
    #[error(
        "no tokio runtime is running here; call `start()` inside one, for example under `#[tokio::main]`"
    )]
    NoTokio,
    /// The storage says nothing.
    #[error(
        "the storage has not answered within {waited:?}, and this node was not started; see that the database runs, that nothing in it waits for a lock, and that this machine reaches it"
    )]
    NoAnswer {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The storage refused.
    #[error("the storage refused: {0}")]
    Storage(#[from] StorageError),
}

/// Why a task was not stored, or why it is not known whether it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DispatchError {
    /// No runtime to dispatch to.
    #[error(
        "no evertask runtime is running; start one with `Runtime::builder()…start()` (or `.client()`), or name one with `.on(&runtime)`"
    )]
    NoRuntime,
    /// More than one runtime to dispatch to.
    #[error("several evertask runtimes are running; name one with `.on(&runtime)`")]
    AmbiguousRuntime,
    /// The runtime has been shut down.
    #[error("the runtime has been shut down; nothing was stored")]
    ShutDown,
    /// The runtime does not know the handler.
    #[error(
        "no handler named `{name}` in this process; register it with `.handler::<{type_name}>()` or leave discovery on"
    )]
    UnknownHandler {
        /// The stored name.
        name: String,
        /// The payload's type.
        type_name: &'static str,
    },
    /// A name, key or tag that cannot be stored.
    #[error(transparent)]
    BadText(#[from] BadText),
    /// More tags than fit.
    #[error("{given} tags; at most {max} fit on a task")]
    TooManyTags {
        /// So many.
        given: usize,
        /// The bound.
        max: usize,
    },
    /// A timeout that leaves an attempt no time at all.
    #[error(
        "the task of `{name}` was given a timeout of zero, which would end every attempt before it began; leave it out, or say how long"
    )]
    ZeroTimeout {
        /// The handler.
        name: String,
    },
    /// The payload is too large.
    #[error(
        "the payload of `{name}` has {len} bytes, at most {max} fit; store what is large elsewhere and pass its address, or raise `.payload_max(..)` on the builder"
    )]
    PayloadTooLarge {
        /// The handler.
        name: String,
        /// How large it is.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// The payload cannot be written.
    #[error("the payload of `{name}` cannot be written as JSON: {source}")]
    Unwritable {
        /// The handler.
        name: String,
        /// What serde said.
        source: serde_json::Error,
    },
    /// The payload, written, cannot be read back.
    #[error("the payload of `{name}` does not survive being stored: {why}")]
    NoRoundTrip {
        /// The handler.
        name: String,
        /// What is lost or unreadable.
        why: String,
    },
    /// A batch is too large.
    #[error(
        "{given} tasks at once; at most {max} fit in one `dispatch_all`; use several, or `dispatch_stream`"
    )]
    BatchTooLarge {
        /// So many.
        given: usize,
        /// The bound.
        max: usize,
    },
    /// An attempt has too many tasks that are to be stored on its success.
    #[error(
        "{given} tasks on the success of one attempt; at most {max} fit; dispatch one that dispatches the others"
    )]
    TooManyOnSuccess {
        /// So many.
        given: usize,
        /// The bound.
        max: usize,
    },
    /// A stream of tasks could not be stored to its end.
    #[error("{stored} tasks of the stream were stored, then: {source}")]
    Stream {
        /// So many were stored.
        stored: u64,
        /// Why the next ones were not.
        source: Box<Self>,
    },
    /// The schedule makes no sense.
    #[error("no schedule was stored: {0}")]
    Schedule(#[from] ScheduleError),
    /// A schedule needs a key.
    #[error(
        "no schedule was stored: it needs a key, or each start of the program would store one more; add `.key(\"..\")`"
    )]
    ScheduleWithoutKey,
    /// A schedule that would never make a task.
    #[error("no schedule was stored: it would never make a task: {why}")]
    NeverRuns {
        /// Why not.
        why: &'static str,
    },
    /// A schedule that cannot be stored as it was said.
    #[error("schedule {key:?} of `{name}` is not stored: {why}")]
    BadSchedule {
        /// The handler.
        name: String,
        /// Its key.
        key: String,
        /// Why not.
        why: String,
    },
    /// A transaction of another database than that of the runtime's storage.
    #[error(
        "nothing was stored: the transaction {transaction}, and the runtime keeps its tasks {storage}; begin it on that database, or name the right runtime with `.on(&runtime)`"
    )]
    AnotherDatabase {
        /// Where the transaction is.
        transaction: String,
        /// Where the tasks are.
        storage: String,
    },
    /// `.now()` on a transaction of a driver that does not block.
    #[error(
        "nothing was stored: the transaction's driver does not block; await the dispatch in place of `.now()`"
    )]
    NotBlocking,
    /// The storage refused; nothing was stored.
    #[error("nothing was stored: {0}")]
    Storage(#[source] StorageError),
    /// The storage did not answer in time; whether the task is stored is not known. A task without a key is stored exactly if its
    /// id is found, now or a little later. Dispatching again makes a new task: it is harmless only under the key of the first, and
    /// only as long as that one has not ended.
    #[error(
        "the storage did not answer within {waited:?}; whether task {id} was stored is not known: {last}"
    )]
    Unknown {
        /// The id the task has if it was stored; of a batch, that of its first one.
        id: TaskId,
        /// How long it was tried.
        waited: Duration,
        /// The last error of the storage.
        last: String,
    },
}

/// Why a schedule was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleFault {
    /// No such schedule is stored.
    #[error("no schedule {key:?} of `{name}` is stored")]
    Unknown {
        /// The handler.
        name: String,
        /// The key.
        key: String,
    },
    /// It makes no tasks any more.
    #[error(
        "schedule {0:?} is over; revive it, or store it again with `.revive()`, to let it begin anew"
    )]
    Over(String),
    /// It is paused, so it has no next tick that could be left out.
    #[error("schedule {0:?} is paused, so it has no next tick to leave out; resume it first")]
    Paused(String),
    /// Its rule has no instant before its end any more.
    #[error("schedule {0:?} has no more instants; store it again with another rule or end")]
    NoMore(String),
    /// A newer program wrote it, in a way this one does not know.
    #[error("schedule {key:?} of `{name}` was written by a newer program; use that one")]
    Newer {
        /// The handler.
        name: String,
        /// The key.
        key: String,
    },
    /// More ticks than are made up for at once.
    #[error(
        "nothing was stored: schedule {key:?} has more than {max} ticks in that range; make up for them in smaller ones"
    )]
    TooManyTicks {
        /// The key.
        key: String,
        /// The bound.
        max: usize,
    },
    /// What is stored of it cannot be read.
    #[error("what is stored of the schedule cannot be read: {0}; store it again under its key")]
    Broken(String),
    /// The storage refused.
    #[error("the schedule was not changed: {0}")]
    Storage(#[from] StorageError),
}

impl From<JoinError> for DispatchError {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Elsewhere { transaction, storage } => {
                Self::AnotherDatabase { transaction, storage }
            }
            JoinError::Storage(error) => Self::Storage(error),
        }
    }
}

/// Why there is no output to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The task failed.
    #[error("task {id} failed: {error}")]
    Failed {
        /// The task.
        id: TaskId,
        /// Its last error.
        error: String,
    },
    /// The task was cancelled.
    #[error("task {id} was cancelled: {reason}")]
    Cancelled {
        /// The task.
        id: TaskId,
        /// Who or why.
        reason: String,
    },
    /// The task completed, but its output was not stored.
    #[error("task {id} completed, but its output could not be stored: {why}")]
    NotStored {
        /// The task.
        id: TaskId,
        /// Why.
        why: String,
    },
    /// The stored output is not of the expected shape.
    #[error("the output of task {id} cannot be read: {source}")]
    Unreadable {
        /// The task.
        id: TaskId,
        /// What is wrong with it.
        source: BodyError,
    },
    /// The task is not stored, or no longer.
    #[error("task {id} is not stored (it may have been deleted after its retention)")]
    Unknown {
        /// The task.
        id: TaskId,
    },
    /// The storage refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a shutdown did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// Not everything could be written down. What is missing is rescued like the tasks of a node that died.
    #[error(
        "{unsettled} tasks could not be given back before the deadline; they are rescued as if this node had died"
    )]
    Unsettled {
        /// How many tasks.
        unsettled: usize,
    },
    /// The storage refused.
    #[error("the storage refused to let the node go: {0}")]
    Storage(#[from] StorageError),
}

/// Why a task cannot be run again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetryError {
    /// It has not ended.
    #[error("task {0} is running; it can be retried once it has ended")]
    Running(TaskId),
    /// Its key belongs to another live task.
    #[error(
        "the key of this task is held by task {0}; retry it when that one has ended, or cancel that one"
    )]
    KeyTaken(TaskId),
    /// It is not stored.
    #[error("task {0} is not stored (it may have been deleted after its retention)")]
    Unknown(TaskId),
    /// The storage refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl OutputError {
    /// The state the task ended in, if that is why there is no output.
    #[must_use]
    pub fn state(&self) -> Option<TaskState> {
        match self {
            Self::Failed { .. } => Some(TaskState::Failed),
            Self::Cancelled { .. } => Some(TaskState::Cancelled),
            Self::NotStored { .. } | Self::Unreadable { .. } => Some(TaskState::Completed),
            Self::Unknown { .. } | Self::Storage(_) => None,
        }
    }
}
