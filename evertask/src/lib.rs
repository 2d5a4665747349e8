//! Durable, typed background tasks: put one attribute on an async fn.
//!
//! ```standalone_crate
//! use evertask::{Runtime, storage::Memory};
//!
//! #[evertask::handler(timeout = "5m", retries = 3)]
//! async fn greet(name: String) -> String {
//!     format!("hello, {name}")
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::builder().storage(Memory::new()).start().await?;
//! let task = greet::dispatch("Ada").await?;
//! assert_eq!(task.output().await?, "hello, Ada");
//! runtime.shutdown().await?;
//! # Ok(()) }
//! ```
//!
//! # Handlers
//!
//! [`#[evertask::handler]`](macro@handler) leaves your fn as it is and puts a struct of the same name beside it: the payload of
//! its tasks, with `new(..)` and `dispatch(..)`. The fn's parameters are of three kinds:
//!
//! - **payload**: everything serde can write and read. Stored with the task, by name.
//! - **state**: [`State<T>`], shared values given to the [`Builder`] with [`.state(..)`](Builder::state). What is missing is an
//!   error at start, not in the middle of the night.
//! - **context**: [`Context`], what the attempt knows about itself; and with `#[extract]` whatever implements [`FromContext`].
//!
//! It returns `()`, a value, or a `Result` of one; the value is recorded as the task's output. See the
//! [attribute](macro@handler) for all options and limits.
//!
//! # Dispatching
//!
//! `greet::dispatch("Ada").await?` stores a task and returns a [`TaskHandle`]. In between fit
//! [`.after(..)`](Dispatch::after), [`.at(..)`](Dispatch::at), [`.key(..)`](Dispatch::key),
//! [`.priority(..)`](Dispatch::priority), [`.queue(..)`](Dispatch::queue), [`.expires(..)`](Dispatch::expires),
//! [`.tag(..)`](Dispatch::tag), [`.retries(..)`](Dispatch::retries) and [`.timeout(..)`](Dispatch::timeout).
//! [`dispatch_all`] stores many in one transaction, [`dispatch_stream`] any number.
//!
//! [`.within(&mut tx)`](Dispatch::within) stores it in a transaction of yours.
//!
//! When a dispatch returns `Ok`, the task is as durable as a commit of the storage. It repeats itself: transient errors are
//! retried under the same id. A second call of yours is a second task.
//!
//! # Running
//!
//! [`Runtime::builder()`] describes a node: its [`storage`], its [queues](Builder::queue), its rules.
//! [`start()`](Builder::start) runs it inside your program; [`client()`](Builder::client) only dispatches and inspects.
//! [`run_until_signal()`](Runtime::run_until_signal) and [`shutdown()`](Runtime::shutdown) end it without losing anything.
//!
//! # What happens to a task
//!
//! A task is `Pending` until it is due and a slot is free, then `Running`, then one of `Completed`, `Failed`, `Cancelled`.
//!
//! - **An error or a panic** is a failed attempt. After a [backoff](Backoff), stored with the task, there is another, until
//!   `retries` are used up. [`TaskError`] and [`ResultExt`] say more precisely what is to happen.
//! - **A timeout** is a failed attempt, too: the future is dropped at its next await. Code that never awaits cannot be stopped;
//!   give it to `tokio::task::spawn_blocking` and await that, knowing that the blocking part itself goes on to its end.
//! - **A cancel** ([`Runtime::cancel`]) stops the attempt in the same way and wins over whatever the handler returns meanwhile.
//! - **A shutdown** waits, then stops what is left; that is no failure and spends no attempt.
//! - **A crash** is no failure either. Another process on the same storage, or the next start, takes over.
//!
//! # What is promised
//!
//! *At least once*: an attempt that was cut off is made again, so handlers must be repeatable;
//! [`Context::idempotency_key`] helps where other services are involved. *Finished once*: each claim has a lease number, and
//! only the current one may write. Never "exactly once", except for what a handler writes in the transaction that completes its
//! task: see [`Tx`].
//!
//! # Finding out
//!
//! [`Runtime::events`] is a stream of what happens, [`Runtime::task`] and [`Runtime::tasks`] read what is stored,
//! [`Runtime::health`] says how the node is and what is due that it cannot run. Everything is logged with
//! [`tracing`](https://docs.rs/tracing).
//!
//! # Testing
//!
//! A handler is a plain async fn: call it with `State::from(value)` and [`Context::test()`](Context::test). Against the real
//! engine, use [`storage::Memory`] under `#[tokio::test(start_paused = true)]` (`tokio`'s feature `test-util`): delays and
//! backoffs then take no time.
//!
//! Documentation tests of edition 2024 are compiled into one program: two that have a handler of the same name then say so at
//! start. Mark those that start a runtime ` ```standalone_crate `.
//!
//! # Features
//!
//! - `sqlite` (default): [`storage::Sqlite`].
//! - `postgres`: `storage::Postgres`, for many processes and machines on one database.
//! - `postgres-tls`: the same over TLS, as `sslmode` and `sslrootcert` of its url say.
//! - `mysql`: `storage::MySql`, the same on MariaDB (MySQL 8 is untested).
//! - `mysql-tls`: the same over TLS, as `ssl-mode` and `ssl-ca` of its url say.
//! - `sqlx` (Rust 1.94): with `postgres` or `mysql`, dispatches [within](Dispatch::within) transactions of `sqlx`; with `postgres`, [`Tx`].
//! - `conformance`: `storage::conformance`, the laws for those who write a storage.

#![cfg_attr(docsrs, feature(doc_cfg))]

// Hidden from the documentation only: what is hidden from the compiler too, it writes out in full in its errors.
#[cfg_attr(doc, doc(hidden))]
pub mod __private;
mod body;
pub mod bounds;
#[cfg(feature = "simulation")]
pub mod chance;
#[cfg(not(feature = "simulation"))]
mod chance;
mod context;
mod declared;
mod dispatch;
mod error;
mod event;
mod extract;
mod failure;
mod handle;
mod handler;
mod hooks;
mod policy;
#[cfg(feature = "simulation")]
pub mod process;
#[cfg(not(feature = "simulation"))]
mod process;
mod recurring;
mod registry;
mod runtime;
pub mod schedule;
mod seat;
mod signature;
mod stop;
pub mod storage;
mod task;
mod tick;
mod tx;
pub mod verdict;
mod within;

#[doc = include_str!("../docs/handler.md")]
pub use evertask_macros::handler;

pub use self::{
    body::{Body, BodyError},
    context::Context,
    dispatch::{Dispatch, DispatchAll, DispatchStream, dispatch, dispatch_all, dispatch_stream},
    error::{DispatchError, OutputError, RetryError, ScheduleFault, ShutdownError, StartError},
    event::{Event, EventKind, EventStream},
    extract::{FromContext, MissingState, State, States},
    failure::{Failure, ResultExt, Retry, TaskError},
    handle::TaskHandle,
    handler::{Handler, HandlerDef, HandlerOptions, Location},
    hooks::{Hook, HookCall, HookReturned, Hooks},
    policy::{Backoff, Keep, Retention, Setting},
    recurring::Recurring,
    runtime::{
        Builder, Explanation, Health, LoopHealth, QueueBuilder, RunningTask, Runtime,
        ScheduleFilter, ScheduleInfo, Schedules, Stall, Why,
    },
    storage::{Cancel, Dispatched, NodeInfo, Page, StorageError, StorageErrorKind, TaskFilter},
    task::{AttemptEnd, AttemptInfo, BadTaskId, TaskId, TaskInfo, TaskState},
    tick::{Missed, ON_TIME, Overlap, SCHEDULE_TAG, ScheduleState},
    tx::Tx,
    within::{DispatchAllWithin, DispatchWithin},
};

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// Makes the handlers of other crates part of this program.
///
/// A crate that stands in `Cargo.toml` but is never named in the code is not linked, and its handlers are then not found. One
/// mention of the crate is enough, by whatever name; where there is none, this is one:
///
/// ```
/// # extern crate evertask as billing;
/// # extern crate evertask as mail;
/// evertask::link!(billing, mail);
/// # fn main() {}
/// ```
///
/// A package with a `main.rs` and a `lib.rs` is two crates: a program whose handlers stand in its own library names that too.
#[macro_export]
macro_rules! link {
    ($($krate:ident),+ $(,)?) => {
        $(use $krate as _;)+
    };
}
