//! The thread on which all lines of one storage live.
//!
//! No handler can block it, and no runtime of the program takes it away at its end: signs of life, settlements and
//! notifications go on whatever the executor does.

use std::{future::Future, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::watch,
};

use crate::storage::{StorageError, StorageErrorKind};

/// A thread with an executor of its own. It ends when this is dropped and all that was spawned is done.
#[derive(Debug)]
pub(crate) struct Thread {
    executor: Handle,
    /// Held by all that runs on it.
    busy: watch::Sender<()>,
}

impl Thread {
    /// Starts it, and gives what resolves when it has ended: when the sender is gone.
    pub(crate) fn start(name: &str) -> Result<(Self, watch::Receiver<()>), StorageError> {
        let cannot = |error: std::io::Error| {
            let message = "cannot open the storage: no thread can be started for it";
            StorageError::new(StorageErrorKind::Other, message).caused_by(error)
        };
        let executor = Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        let handle = executor.handle().clone();
        let (busy, mut idle) = watch::channel(());
        let (alive, ended) = watch::channel(());
        let run = move || {
            let _alive = alive;
            // Nothing is ever sent: it ends when nobody is left who could.
            executor.block_on(async { while idle.changed().await.is_ok() {} });
        };
        thread::Builder::new().name(name.to_owned()).spawn(run).map_err(cannot)?;
        Ok((Self { executor: handle, busy }, ended))
    }

    /// Runs this on the thread.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let busy = self.busy.clone();
        self.executor.spawn(async move {
            work.await;
            drop(busy);
        });
    }
}
