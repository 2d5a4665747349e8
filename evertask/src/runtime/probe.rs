//! Looks for tasks that a caller's transaction will have stored once it commits, where nobody tells when that is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use crate::{runtime::Shared, storage::Joined};

/// The first look comes so soon, each further one after twice the time.
const FIRST: Duration = Duration::from_millis(10);

const IDLE: u8 = 0;
const LOOKING: u8 = 1;
/// Another transaction has come meanwhile: the looks begin anew.
const AGAIN: u8 = 2;

/// Whether somebody looks at the moment.
#[derive(Debug, Default)]
pub(crate) struct Probe(AtomicU8);

impl Shared {
    /// Tasks will be there if a caller's transaction commits.
    pub(crate) fn joined(self: &Arc<Self>, joined: &Joined) {
        for enqueued in &joined.enqueued {
            let (id, how) = (enqueued.id, enqueued.how);
            tracing::debug!(%id, ?how, "dispatched within a transaction of the caller");
        }
        if joined.wakes || joined.enqueued.is_empty() {
            return;
        }
        if self.probe.0.swap(AGAIN, Ordering::SeqCst) == IDLE {
            drop(self.tokio.spawn(look(Arc::clone(self))));
        }
    }
}

/// However many transactions there are, there is one that looks, never more often than the first look comes.
async fn look(shared: Arc<Shared>) {
    let state = &shared.probe.0;
    let mut wait = FIRST;
    loop {
        if state.swap(LOOKING, Ordering::SeqCst) == AGAIN {
            wait = FIRST;
        }
        sleep(wait).await;
        shared.storage.bell().work(Duration::ZERO);
        wait *= 2;
        // From here on the usual looks do.
        let over = wait > shared.settings.look_every || shared.left.is_set();
        if over && state.compare_exchange(LOOKING, IDLE, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        {
            return;
        }
    }
}
