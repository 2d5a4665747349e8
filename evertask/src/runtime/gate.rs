//! Counts what is under way, and lets one wait until nothing is.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// A count that falls by itself.
#[derive(Debug, Default, Clone)]
pub(crate) struct Gate(Arc<Inside>);

#[derive(Debug, Default)]
struct Inside {
    count: AtomicUsize,
    none: Notify,
}

/// One that is inside, until dropped.
#[derive(Debug)]
pub(crate) struct Entered(Arc<Inside>);

impl Gate {
    pub(crate) fn enter(&self) -> Entered {
        self.0.count.fetch_add(1, Ordering::SeqCst);
        Entered(Arc::clone(&self.0))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.count.load(Ordering::SeqCst)
    }

    /// Resolves when nobody is inside.
    pub(crate) async fn none(&self) {
        loop {
            let none = self.0.none.notified();
            tokio::pin!(none);
            none.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            none.await;
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none.notify_waiters();
        }
    }
}
