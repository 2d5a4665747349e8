//! How an attempt is told to stop, and why.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

/// Why an attempt is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Someone cancelled the task.
    Cancel = 1,
    /// The node shuts down.
    Shutdown = 2,
    /// Another node has the lease.
    Lost = 3,
    /// Another node may have the lease: the storage could not be reached for as long as it lasts.
    CutOff = 4,
}

/// A signal that is given once and stays; the first reason stays too, unless the lease was lost, which beats all.
#[derive(Debug, Default)]
pub(crate) struct StopSignal {
    reason: AtomicU8,
    given: Notify,
}

impl StopSignal {
    pub(crate) fn give(&self, reason: Stop) {
        let new = reason as u8;
        let _kept = self.reason.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |old| {
            (old == 0 || reason == Stop::Lost).then_some(new)
        });
        self.given.notify_waiters();
    }

    pub(crate) fn reason(&self) -> Option<Stop> {
        match self.reason.load(Ordering::SeqCst) {
            1 => Some(Stop::Cancel),
            2 => Some(Stop::Shutdown),
            3 => Some(Stop::Lost),
            4 => Some(Stop::CutOff),
            _ => None,
        }
    }

    /// Resolves once the signal has been given.
    pub(crate) async fn wait(&self) -> Stop {
        loop {
            let given = self.given.notified();
            tokio::pin!(given);
            // Registered before the look, so a signal between the two is not missed.
            given.as_mut().enable();
            if let Some(reason) = self.reason() {
                return reason;
            }
            given.await;
        }
    }
}
