//! Notices when the executor stands still, and which handler was being polled when it did.
//!
//! A thread of its own, which no handler can block, knocks once a second; a task on the executor answers. No timer of the
//! executor is involved: one that stands still has none, and one whose time is paused is not disturbed.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{
    event::{Event, EventKind},
    runtime::{Shared, health::Stall, shutdown},
};

/// How often the thread knocks. A stall shows after two knocks without an answer.
const EVERY: Duration = Duration::from_secs(1);
/// How long the storage may take to hear that a node has given up.
const LEAVE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Pulse {
    knock: Notify,
    answers: AtomicU64,
    /// The executor was dropped, and everything that ran on it.
    gone: AtomicBool,
    stalled: Mutex<Option<(Instant, Vec<Arc<str>>)>>,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self {
            knock: Notify::new(),
            answers: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            stalled: Mutex::new(None),
        }
    }

    pub(crate) fn stall(&self) -> Option<Stall> {
        let stalled = self.stalled.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, handlers) = stalled.as_ref()?;
        Some(Stall { since: since.elapsed(), handlers: handlers.clone() })
    }
}

/// The task that answers.
pub(crate) async fn run(shared: Arc<Shared>) {
    let _notice = Notice(&shared);
    loop {
        tokio::select! {
            biased;
            () = shared.pulse.knock.notified() => {
                shared.pulse.answers.fetch_add(1, Ordering::Relaxed);
            }
            () = shared.left.wait() => return,
        }
    }
}

/// Nobody drops the task that answers before the node has left, unless the executor itself is dropped.
struct Notice<'s>(&'s Shared);

impl Drop for Notice<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() && !self.0.left.is_set() {
            self.0.pulse.gone.store(true, Ordering::Relaxed);
        }
    }
}

/// Starts the thread that watches. It ends within a second of the runtime; failing to start it costs the report and nothing
/// else.
pub(crate) fn watch(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    let thread = std::thread::Builder::new().name("evertask-pulse".to_owned());
    if let Err(error) = thread.spawn(move || look(&weak)) {
        tracing::warn!(%error, "no thread to watch the executor with; stalls will not be reported");
    }
}

fn look(shared: &Weak<Shared>) {
    let mut seen = Seen { answers: 0, at: Instant::now(), given_up: false };
    while let Some(shared) = shared.upgrade() {
        if shared.left.is_set() {
            return;
        }
        if shared.pulse.gone.load(Ordering::Relaxed) {
            tracing::warn!(
                node = %shared.node.id,
                "the executor was dropped before evertask was shut down; what ran was cut off and is pending again once another node lives"
            );
            leave(&shared);
            shutdown::abandon(&shared);
            return;
        }
        seen.heed(&shared);
        shared.pulse.knock.notify_one();
        drop(shared);
        std::thread::sleep(EVERY);
    }
}

/// What the thread saw last.
struct Seen {
    answers: u64,
    at: Instant,
    /// The node was declared dead for standing still too long.
    given_up: bool,
}

impl Seen {
    fn heed(&mut self, shared: &Shared) {
        let answers = shared.pulse.answers.load(Ordering::Relaxed);
        if answers != self.answers {
            (self.answers, self.at) = (answers, Instant::now());
            self.moves_again(shared);
            return;
        }
        let stands = self.at.elapsed();
        if stands > EVERY + EVERY / 2 {
            self.stands_still(shared);
        }
        if stands >= shared.settings.stall_limit && !self.given_up {
            self.given_up = true;
            give_up(shared);
        }
    }

    fn moves_again(&mut self, shared: &Shared) {
        if std::mem::take(&mut self.given_up) {
            // The keeper announces the node anew and renews, which stops what others have taken meanwhile.
            shared.storage.bell().orders();
        }
        let mut stalled = shared.pulse.stalled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, _)) = stalled.take() {
            tracing::info!(stood_still = ?since.elapsed(), "the executor moves again");
        }
    }

    fn stands_still(&self, shared: &Shared) {
        let mut stalled = shared.pulse.stalled.lock().unwrap_or_else(PoisonError::into_inner);
        if stalled.is_some() {
            return;
        }
        let handlers = shared.desk.polled();
        *stalled = Some((self.at, handlers.clone()));
        drop(stalled);
        let names = handlers.join(", ");
        tracing::error!(
            handlers = names,
            "the executor stands still: a handler blocks its thread; give blocking work to `tokio::task::spawn_blocking`"
        );
        shared.events.tell(|| Event::of_node(EventKind::Stalled).error(names));
    }
}

/// Declares the node dead, so that others may take what it holds.
fn give_up(shared: &Shared) {
    let limit = shared.settings.stall_limit;
    tracing::error!(node = %shared.node.id, ?limit, "the executor has stood still for too long; other nodes may take the tasks of this one");
    shared.touch.signed_off();
    leave(shared);
}

/// Signs the node off. It cannot do so itself: its executor stands still or is gone. So this thread has one of its own for the
/// moment.
fn leave(shared: &Shared) {
    let own = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(own) => own,
        Err(error) => {
            tracing::error!(%error, "this node cannot give up its tasks");
            return;
        }
    };
    let leave = async { tokio::time::timeout(LEAVE, shared.storage.leave(shared.node.id)).await };
    match own.block_on(leave) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "this node could not give up its tasks"),
        Err(_) => tracing::error!("this node could not give up its tasks within {LEAVE:?}"),
    }
}
