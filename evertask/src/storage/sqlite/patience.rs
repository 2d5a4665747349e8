//! How the writer waits while another process writes.
//!
//! SQLite's own way is to sleep ever longer, up to a tenth of a second, between looks at the lock. Against a process that
//! commits all the time and leaves the lock free for some microseconds in between, such a sleeper comes too late for seconds.

use std::{
    cell::Cell,
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;

thread_local! {
    /// How long this thread waits for a lock, and since when it does. SQLite asks a plain fn, which knows no connection; but the
    /// writer's connection is used on one thread only.
    static WAIT: Cell<(Duration, Option<Instant>)> = const { Cell::new((Duration::ZERO, None)) };
}

/// From now on this connection, which stays on this thread, waits so long for a lock.
pub(super) fn wait_up_to(conn: &Connection, patience: Duration) -> rusqlite::Result<()> {
    WAIT.set((patience, None));
    conn.busy_handler(Some(wait))
}

/// Waits a little; false if that is enough.
fn wait(times: i32) -> bool {
    let (patience, since) = WAIT.get();
    let now = Instant::now();
    let since = if times == 0 { now } else { since.unwrap_or(now) };
    WAIT.set((patience, Some(since)));
    if now.duration_since(since) >= patience {
        return false;
    }
    // A third of a millisecond to one, by chance, so that two who wait do not look in step with whoever writes.
    let chance = u64::from(std::process::id()) ^ since.elapsed().as_nanos() as u64;
    thread::sleep(Duration::from_micros(300 + chance % 700));
    true
}
