//! Whether this node is in touch with its storage: when a sign of life of its own last arrived.
//!
//! Others take a node for dead whose signs of life have stood still for its lease. So one that is out of touch for as long stops
//! what it runs: somebody else may be running it by now. Not while the storage itself says that it is there for nobody; but where
//! there is only silence, an outage that concerns all looks no different from one that concerns this node alone.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{Shared, attempt};

/// Who has been out of touch for this part of a lease announces itself again, and has seen no other node die.
const DOUBTFUL_PARTS: u32 = 2;

/// What the runtime knows of it.
#[derive(Debug)]
pub(crate) struct Touch {
    /// When the last renewal was sent that was answered: a sign of life, too, and with some storages the only one.
    renewed: Mutex<Instant>,
    /// The node was signed off, since its executor stood still, and has to announce itself before it goes on.
    signed_off: AtomicBool,
}

impl Touch {
    pub(crate) fn new() -> Self {
        Self { renewed: Mutex::new(Instant::now()), signed_off: AtomicBool::new(false) }
    }

    /// A renewal that was sent then has been answered.
    pub(crate) fn renewed(&self, sent: Instant) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = sent;
    }

    pub(crate) fn signed_off(&self) {
        self.signed_off.store(true, Ordering::SeqCst);
    }

    /// The node is announced.
    pub(crate) fn announced(&self) {
        self.signed_off.store(false, Ordering::SeqCst);
    }
}

impl Shared {
    /// How long it is since a sign of life of this node was sent that has arrived.
    fn out_of_touch(&self) -> Duration {
        let by_itself = self.storage.since_beat(self.node.id);
        by_itself.unwrap_or_else(|| {
            self.touch.renewed.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
        })
    }

    /// For how long somebody may have been in touch with the storage while this node was not.
    fn out_of_touch_alone(&self) -> Duration {
        let away = self.storage.since_away().unwrap_or(Duration::MAX);
        self.out_of_touch().min(away)
    }

    /// Signs of life get through.
    pub(crate) fn is_in_touch(&self) -> bool {
        !self.storage.needs_beats() || self.out_of_touch() < self.settings.lease / DOUBTFUL_PARTS
    }

    /// The storage may not know this node any more.
    pub(crate) fn is_to_announce_itself(&self) -> bool {
        self.touch.signed_off.load(Ordering::SeqCst) || !self.is_in_touch()
    }
}

/// The loop.
pub(crate) async fn run(shared: Arc<Shared>) {
    if !shared.storage.needs_beats() {
        // Nobody takes anything from a node because nothing is heard of it.
        return;
    }
    let lease = shared.settings.lease;
    loop {
        let silent = shared.out_of_touch_alone();
        let look_in = if shared.desk.is_shut() {
            if shared.is_in_touch() {
                tracing::info!(
                    "signs of life reach the storage again; tasks are taken in as before"
                );
                shared.desk.open();
            }
            lease / 20
        } else if silent >= lease {
            stop(&shared, silent);
            lease / 20
        } else {
            lease - silent
        };
        tokio::select! {
            biased;
            () = shared.left.wait() => return,
            () = sleep(look_in.max(Duration::from_millis(1))) => {}
        }
    }
}

/// Stops what others may have, if that is so by now.
pub(crate) fn stop_if_out_of_touch(shared: &Shared) {
    if !shared.storage.needs_beats() {
        return;
    }
    let silent = shared.out_of_touch_alone();
    if silent >= shared.settings.lease && !shared.desk.is_shut() {
        stop(shared, silent);
    }
}

/// Stops all that another node may have by now.
fn stop(shared: &Shared, silent: Duration) {
    let (running, ahead) = shared.desk.shut();
    for task in &ahead {
        attempt::give_back(shared, task);
    }
    tracing::warn!(
        running, ?silent, lease = ?shared.settings.lease,
        "no sign of life of this node has reached the storage for its lease, so others may take its tasks; what runs here is stopped, \
         and pending again if nobody has taken it"
    );
}
