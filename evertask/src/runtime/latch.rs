//! A flag that is set once and can be waited for.

use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct Latch(watch::Sender<bool>);

impl Latch {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(crate) fn set(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves once it is set.
    pub(crate) async fn wait(&self) {
        // The sender is `self`, so the channel cannot close while we wait.
        let mut set = self.0.subscribe();
        let _set = set.wait_for(|set| *set).await;
    }
}
