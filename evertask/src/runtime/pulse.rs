//! Notices when the executor stands still, and which handler was being polled when it did.
//!
//! A thread of its own, which no handler can block, knocks once a second; a task on the executor answers. No timer of the
//! executor is involved: one that stands still has none, and one whose time is paused is not disturbed.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{
    event::{Event, EventKind},
    runtime::{Shared, health::Stall},
};

/// How often the thread knocks. A stall shows after two knocks without an answer.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Pulse {
    knock: Notify,
    answers: AtomicU64,
    stalled: Mutex<Option<(Instant, Vec<Arc<str>>)>>,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self { knock: Notify::new(), answers: AtomicU64::new(0), stalled: Mutex::new(None) }
    }

    pub(crate) fn stall(&self) -> Option<Stall> {
        let stalled = self.stalled.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, handlers) = stalled.as_ref()?;
        Some(Stall { since: since.elapsed(), handlers: handlers.clone() })
    }
}

/// The task that answers.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.pulse.knock.notified() => {
                shared.pulse.answers.fetch_add(1, Ordering::Relaxed);
            }
            () = shared.left.wait() => return,
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
    let mut seen = (0, Instant::now());
    while let Some(shared) = shared.upgrade() {
        if shared.left.is_set() {
            return;
        }
        heed(&shared, &mut seen);
        shared.pulse.knock.notify_one();
        drop(shared);
        std::thread::sleep(EVERY);
    }
}

/// Compares the answers with those seen last, and when that was.
fn heed(shared: &Shared, seen: &mut (u64, Instant)) {
    let answers = shared.pulse.answers.load(Ordering::Relaxed);
    let mut stalled = shared.pulse.stalled.lock().unwrap_or_else(PoisonError::into_inner);
    if answers != seen.0 {
        *seen = (answers, Instant::now());
        if let Some((since, _)) = stalled.take() {
            tracing::info!(for_ = ?since.elapsed(), "the executor moves again");
        }
    } else if stalled.is_none() && seen.1.elapsed() > EVERY + EVERY / 2 {
        let handlers = shared.desk.polled();
        *stalled = Some((seen.1, handlers.clone()));
        drop(stalled);
        let names = handlers.join(", ");
        tracing::error!(
            handlers = names,
            "the executor stands still: a handler blocks its thread; give blocking work to `tokio::task::spawn_blocking`"
        );
        shared.events.tell(|| Event::of_node(EventKind::Stalled).error(names));
    }
}
