//! A task on its way into storage in a transaction of the caller.

use std::{
    fmt,
    future::{Future, IntoFuture, ready},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    dispatch::{Dispatch, DispatchAll},
    error::DispatchError,
    handle::TaskHandle,
    handler::Handler,
    runtime::Shared,
    storage::{BoxFuture, Enqueued, Join, JoinTx, NewTask},
};

/// A task that is about to be stored in a transaction of the caller: see [`Dispatch::within`].
#[must_use = "a dispatch does nothing until it is awaited"]
pub struct DispatchWithin<'t, T> {
    dispatch: Dispatch<T>,
    tx: &'t mut (dyn Join + 't),
}

/// Many tasks that are about to be stored in a transaction of the caller: see [`DispatchAll::within`].
#[must_use = "a dispatch does nothing until it is awaited"]
pub struct DispatchAllWithin<'t, T> {
    dispatch: DispatchAll<T>,
    tx: &'t mut (dyn Join + 't),
}

impl<T: Handler> Dispatch<T> {
    /// In this transaction of yours: if it commits the task is stored, if it is rolled back it never was.
    ///
    /// It takes a transaction of the database in which the runtime has its tasks, and fails with
    /// [`AnotherDatabase`](DispatchError::AnotherDatabase) if it is none: see [`JoinTx`] for the drivers. Options go before it.
    ///
    /// An error goes straight to you, since only you can repeat a transaction; what was done in it before stays as it is. After
    /// the commit the task starts about as soon as any other. While another transaction is under way that has stored a task
    /// under the same key, the dispatch waits for its end, so transactions that use keys are better short. Waiting for
    /// [`output()`](TaskHandle::output) begins with waiting for the commit: after a rollback it has no end.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] mod doc {
    /// #[evertask::handler]
    /// async fn greet(name: String) {
    ///     println!("hello, {name}");
    /// }
    ///
    /// fn sign_up(users: &mut rusqlite::Connection, name: &str) -> Result<(), Box<dyn std::error::Error>> {
    ///     let mut tx = users.transaction()?;
    ///     tx.execute("INSERT INTO users (name) VALUES (?1)", [name])?;
    ///     // `.now()` since this driver blocks; of `sqlx` and `tokio_postgres` the dispatch is awaited.
    ///     greet::dispatch(name).within(&mut tx).now()?;
    ///     tx.commit()?;
    ///     Ok(())
    /// }
    /// # }
    /// ```
    pub fn within<X: JoinTx>(self, tx: &mut X) -> DispatchWithin<'_, T> {
        DispatchWithin { dispatch: self, tx }
    }
}

impl<T: Handler> DispatchAll<T> {
    /// In this transaction of yours: see [`Dispatch::within`].
    pub fn within<X: JoinTx>(self, tx: &mut X) -> DispatchAllWithin<'_, T> {
        DispatchAllWithin { dispatch: self, tx }
    }
}

impl<'t, T: Handler> DispatchWithin<'t, T> {
    /// Stores it without awaiting, where the driver blocks, as `rusqlite` does: for code that is not async.
    ///
    /// # Errors
    /// As when awaited; and [`NotBlocking`](DispatchError::NotBlocking) if the driver does not block.
    pub fn now(self) -> Result<TaskHandle<T>, DispatchError> {
        now(self.tx.blocks(), self.into_future())
    }
}

impl<'t, T: Handler> DispatchAllWithin<'t, T> {
    /// Stores them without awaiting: see [`DispatchWithin::now`].
    ///
    /// # Errors
    /// As there.
    pub fn now(self) -> Result<Vec<TaskHandle<T>>, DispatchError> {
        now(self.tx.blocks(), self.into_future())
    }
}

impl<'t, T: Handler> IntoFuture for DispatchWithin<'t, T> {
    type Output = Result<TaskHandle<T>, DispatchError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 't>>;

    fn into_future(self) -> Self::IntoFuture {
        let stored = store(self.dispatch.prepare().map(|(on, task)| (on, vec![task])), self.tx);
        Box::pin(async move {
            let (runtime, enqueued) = stored.await?;
            let [one] = enqueued[..] else { unreachable!("one task, one answer") };
            Ok(TaskHandle::uncommitted(&runtime, one))
        })
    }
}

impl<'t, T: Handler> IntoFuture for DispatchAllWithin<'t, T> {
    type Output = Result<Vec<TaskHandle<T>>, DispatchError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 't>>;

    fn into_future(self) -> Self::IntoFuture {
        let stored = store(self.dispatch.prepare(), self.tx);
        Box::pin(async move {
            let (runtime, enqueued) = stored.await?;
            let handle = |one| TaskHandle::uncommitted(&runtime, one);
            Ok(enqueued.into_iter().map(handle).collect())
        })
    }
}

type Stored = Result<(Arc<Shared>, Vec<Enqueued>), DispatchError>;

/// Where the driver blocks it is stored when this returns, and the future holds nothing of the transaction.
fn store<'t>(
    prepared: Result<(Arc<Shared>, Vec<NewTask>), DispatchError>,
    tx: &'t mut (dyn Join + 't),
) -> BoxFuture<'t, Stored> {
    let (runtime, tasks) = match prepared {
        Ok((runtime, _)) if runtime.is_closed() => {
            return Box::pin(ready(Err(DispatchError::ShutDown)));
        }
        Ok(prepared) => prepared,
        Err(error) => return Box::pin(ready(Err(error))),
    };
    let joining = tx.join(Arc::clone(&runtime.storage), tasks);
    Box::pin(async move {
        let joined = joining.await?;
        runtime.joined(&joined);
        Ok((runtime, joined.enqueued))
    })
}

fn now<R>(
    blocks: bool,
    future: impl Future<Output = Result<R, DispatchError>>,
) -> Result<R, DispatchError> {
    if !blocks {
        return Err(DispatchError::NotBlocking);
    }
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(stored) => stored,
        Poll::Pending => Err(DispatchError::NotBlocking),
    }
}

impl<T: fmt::Debug> fmt::Debug for DispatchWithin<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatchWithin").field("dispatch", &self.dispatch).finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for DispatchAllWithin<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatchAllWithin")
            .field("dispatch", &self.dispatch)
            .finish_non_exhaustive()
    }
}
