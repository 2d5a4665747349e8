//! A stored task in the hands of the one who dispatched it.

use std::{fmt, marker::PhantomData, sync::Arc};

use crate::{
    error::OutputError,
    handler::Handler,
    runtime::Shared,
    storage::{Cancel, Dispatched, Enqueued, StorageError},
    task::{TaskId, TaskInfo},
};

/// A stored task: its id, and what becomes of it. Dropping it changes nothing.
pub struct TaskHandle<T> {
    pub(crate) id: TaskId,
    pub(crate) how: Dispatched,
    pub(crate) runtime: Arc<Shared>,
    /// It is stored in a transaction of the caller, of which nobody knows whether it has been committed.
    pub(crate) uncommitted: bool,
    pub(crate) types: PhantomData<fn() -> T>,
}

impl<T: Handler> TaskHandle<T> {
    pub(crate) fn new(runtime: &Arc<Shared>, enqueued: Enqueued) -> Self {
        let Enqueued { id, how } = enqueued;
        let runtime = Arc::clone(runtime);
        Self { id, how, runtime, uncommitted: false, types: PhantomData }
    }

    pub(crate) fn uncommitted(runtime: &Arc<Shared>, enqueued: Enqueued) -> Self {
        Self { uncommitted: true, ..Self::new(runtime, enqueued) }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// What the dispatch did: created it, replaced a pending one with the same key, or found one running.
    #[must_use]
    pub fn dispatched(&self) -> Dispatched {
        self.how
    }

    /// All that is stored about it now; `None` once it has been deleted.
    ///
    /// # Errors
    /// The storage could not be read.
    pub async fn info(&self) -> Result<Option<TaskInfo>, StorageError> {
        self.runtime.task(self.id).await
    }

    /// Cancels it: see [`Runtime::cancel`](crate::Runtime::cancel).
    ///
    /// # Errors
    /// The storage refused.
    pub async fn cancel(&self) -> Result<Cancel, StorageError> {
        self.runtime.cancel(self.id).await
    }

    /// Waits until it has ended and returns what its handler returned.
    ///
    /// Within one process this is a wake-up, not polling. There is no timeout; put one around it where it is wanted. A task
    /// dispatched [within](crate::Dispatch::within) a transaction is waited for until that commits, and for ever if it does not.
    ///
    /// # Errors
    /// It failed, was cancelled, was deleted meanwhile, or its output is not of this type.
    pub async fn output(&self) -> Result<T::Output, OutputError> {
        let body = self.runtime.output(self.id, self.uncommitted).await?;
        body.read().map_err(|source| OutputError::Unreadable { id: self.id, source })
    }
}

impl<T> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle").field("id", &self.id).field("dispatched", &self.how).finish()
    }
}

impl<T> Clone for TaskHandle<T> {
    fn clone(&self) -> Self {
        let (id, how, uncommitted) = (self.id, self.how, self.uncommitted);
        Self { id, how, runtime: Arc::clone(&self.runtime), uncommitted, types: PhantomData }
    }
}
