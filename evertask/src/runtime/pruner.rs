//! Deletes what is out of its time, bit by bit.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::runtime::{Shared, claimer, patience::Patience};

/// The most that is pruned in one go.
const AT_ONCE: usize = 1_000;
/// How often there may be a round of pruning.
const EVERY: Duration = Duration::from_secs(30);

/// The loop.
pub(crate) async fn run(shared: Arc<Shared>) {
    let (mut pause, mut patience) = (EVERY, Patience::new());
    loop {
        tokio::select! {
            biased;
            () = shared.left.wait() => return,
            () = sleep(pause) => {}
        }
        pause = match prune(&shared).await {
            Some(pause) => {
                patience = Patience::new();
                pause
            }
            None => patience.wait(),
        };
    }
}

/// Deletes what is out of its time; returns how long until the next round, or nothing if this one failed.
async fn prune(shared: &Arc<Shared>) -> Option<Duration> {
    match shared.calls.prune.make(shared.storage.prune(AT_ONCE)).await {
        Ok(pruned) => {
            claimer::tell_expired(shared, pruned.expired);
            Some(match pruned.next {
                // A full round: the next one soon, but not at the cost of the tasks themselves.
                Some(next) if next.is_zero() => Duration::from_millis(100),
                Some(next) => next.max(EVERY).min(Duration::from_secs(3600)),
                // Nothing is kept for a time; whatever ends from now on is kept at least for a while.
                None => Duration::from_secs(600),
            })
        }
        Err(error) => {
            shared.trouble(&shared.calls.prune, &error);
            None
        }
    }
}
