//! Which seeds, and how they are shared among the cores.

use std::{
    panic,
    sync::{
        Once,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::stage::{PANICS, SIMULATED};

/// So many are the same each time.
const FIXED: u64 = 150;
/// And so many are new.
const NEW: u64 = 50;

/// The one of `EVERTASK_SEED`; or as many new ones as `EVERTASK_SEEDS` says; or some old and some new.
pub(crate) fn seeds() -> Vec<u64> {
    let said = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name}={text} is no number")))
    };
    if let Some(seed) = said("EVERTASK_SEED") {
        return vec![seed];
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Short enough to be typed.
    let first = since.as_millis() as u64 % 1_000_000_000 * 100;
    let new = said("EVERTASK_SEEDS");
    println!("new seeds from {first} on");
    let fixed = if new.is_some() { 0..0 } else { 0..FIXED };
    fixed.chain(first..first + new.unwrap_or(NEW)).collect()
}

/// Does something with each of them, on as many threads as there are cores. The first that panics ends it for all.
pub(crate) fn each(seeds: &[u64], work: impl Fn(u64) + Sync) {
    heed_panics();
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let one = || {
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::SeqCst)) {
            if over.load(Ordering::SeqCst) {
                return;
            }
            let done = panic::catch_unwind(panic::AssertUnwindSafe(|| work(*seed)));
            if let Err(panic) = done {
                over.store(true, Ordering::SeqCst);
                panic::resume_unwind(panic);
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(one)).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                panic::resume_unwind(panic);
            }
        }
    });
}

/// Panics of handlers that are to are kept quiet about; all others in a history are noted, since the engine survives them.
fn heed_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() == Some(&"planned") {
                return;
            }
            if thread::current().name() == Some(SIMULATED) {
                PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            } else {
                before(info);
            }
        }));
    });
}
