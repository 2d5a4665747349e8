//! Durable, typed background tasks: put one attribute on an async fn.

pub mod __private;
mod body;
pub mod bounds;
mod context;
mod dispatch;
mod error;
mod event;
mod extract;
mod failure;
mod handle;
mod handler;
mod hooks;
mod policy;
mod registry;
mod runtime;
mod signature;
mod stop;
pub mod storage;
mod task;
pub mod verdict;

pub use evertask_macros::handler;

pub use self::{
    body::{Body, BodyError},
    context::Context,
    dispatch::{Dispatch, DispatchAll, dispatch, dispatch_all},
    error::{DispatchError, OutputError, RetryError, ShutdownError, StartError},
    event::{Event, EventKind, EventStream},
    extract::{FromContext, MissingState, State, States},
    failure::{Failure, ResultExt, Retry, TaskError},
    handle::TaskHandle,
    handler::{Handler, HandlerDef, HandlerOptions, Location},
    hooks::{HookCall, Hooks},
    policy::{Backoff, Keep, Retention, Setting},
    runtime::{Builder, Health, LoopHealth, QueueBuilder, RunningTask, Runtime, Stall},
    storage::{Cancel, Dispatched, Page, StorageError, StorageErrorKind, TaskFilter},
    task::{AttemptEnd, AttemptInfo, BadTaskId, TaskId, TaskInfo, TaskState},
};
