//! Notices when the executor stands still, and which handler was being polled when it did.
//!
//! A task on the executor counts; a thread of its own, which no handler can block, sees whether it does.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    event::{Event, EventKind},
    runtime::{Shared, health::Stall},
};

/// How often it beats and is looked at. A stall shows after two looks.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Pulse {
    beats: AtomicU64,
    stalled: Mutex<Option<(Instant, Vec<Arc<str>>)>>,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self { beats: AtomicU64::new(0), stalled: Mutex::new(None) }
    }

    pub(crate) fn stall(&self) -> Option<Stall> {
        let stalled = self.stalled.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, handlers) = stalled.as_ref()?;
        Some(Stall { since: since.elapsed(), handlers: handlers.clone() })
    }
}

/// The task that beats.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        shared.pulse.beats.fetch_add(1, Ordering::Relaxed);
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
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
    let mut seen = (u64::MAX, Instant::now());
    loop {
        std::thread::sleep(EVERY);
        let Some(shared) = shared.upgrade() else { return };
        if shared.left.is_set() {
            return;
        }
        let beats = shared.pulse.beats.load(Ordering::Relaxed);
        let mut stalled = shared.pulse.stalled.lock().unwrap_or_else(PoisonError::into_inner);
        if beats != seen.0 {
            seen = (beats, Instant::now());
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
}
