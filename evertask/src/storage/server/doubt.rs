//! Doubt about connections that keep silent: one that is half open, cut somewhere on its way, looks like a slow server.
//!
//! The heart knows better, since its statement takes no time. If it heard nothing on an old connection and is answered at once
//! on a new one, the others are likely to be cut as well. So those that are idle are not used again, and what has been asked
//! over them is not waited for to the limit.

use std::{future::pending, time::Duration};

use tokio::{sync::watch, time::sleep};

/// How much longer an answer is waited for that is in doubt.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often doubt was raised.
#[derive(Debug)]
pub(crate) struct Doubt(watch::Sender<u64>);

impl Default for Doubt {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Doubt {
    /// All connections there are by now are in doubt.
    pub(crate) fn raise(&self) {
        self.0.send_modify(|times| *times += 1);
    }

    /// A connection is in doubt when this is no longer what it was when the connection was made.
    pub(crate) fn times(&self) -> u64 {
        *self.0.borrow()
    }

    /// Resolves when doubt is raised.
    pub(crate) async fn raised(&self) {
        let mut raised = self.0.subscribe();
        if raised.changed().await.is_err() {
            pending().await
        }
    }

    /// Resolves when doubt was raised, and a while has passed.
    pub(crate) async fn outlasted(&self) -> Duration {
        self.raised().await;
        sleep(PATIENCE).await;
        PATIENCE
    }
}
