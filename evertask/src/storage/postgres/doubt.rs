//! Doubt about connections that keep silent: one that is half open, cut somewhere on its way, looks like a slow server.
//!
//! The heart knows better, since its statement takes no time. If it heard nothing on an old connection and is answered at once
//! on a new one, the others' silence is likely to be of the same kind, and they need not wait for their whole limit.

use std::{future::pending, time::Duration};

use tokio::{sync::watch, time::sleep};

/// How much longer an answer is waited for that is in doubt.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Doubt(watch::Sender<()>);

impl Default for Doubt {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl Doubt {
    /// Whatever has not been answered by now is in doubt.
    pub(super) fn raise(&self) {
        self.0.send_replace(());
    }

    /// Resolves when doubt is raised.
    pub(super) async fn raised(&self) {
        let mut raised = self.0.subscribe();
        if raised.changed().await.is_err() {
            pending().await
        }
    }

    /// Resolves when doubt was raised, and a while has passed.
    pub(super) async fn outlasted(&self) -> Duration {
        self.raised().await;
        sleep(PATIENCE).await;
        PATIENCE
    }
}
