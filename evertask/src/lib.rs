//! Durable, typed background tasks: put one attribute on an async fn.

pub mod __private;
mod body;
pub mod bounds;
mod context;
mod dispatch;
mod error;
mod extract;
mod failure;
mod handle;
mod handler;
mod hooks;
mod policy;
mod registry;
mod runtime;
mod signature;
pub mod storage;
mod task;
pub mod verdict;

#[doc = include_str!("../docs/handler.md")]
pub use evertask_macros::handler;

pub use self::{
    body::{Body, BodyError},
    context::Context,
    dispatch::{Dispatch, DispatchAll, dispatch, dispatch_all},
    error::{DispatchError, OutputError, RetryError, ShutdownError, StartError},
    extract::{FromContext, MissingState, State, States},
    failure::{Failure, ResultExt, Retry, TaskError},
    handle::TaskHandle,
    handler::{Handler, HandlerDef, HandlerOptions, Location},
    hooks::{HookCall, Hooks},
    policy::{Backoff, Keep, Retention, Setting},
    runtime::Runtime,
    storage::{Cancel, Dispatched, StorageError, StorageErrorKind},
    task::{AttemptEnd, AttemptInfo, BadTaskId, TaskId, TaskInfo, TaskState},
};

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
