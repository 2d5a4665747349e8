//! Wakes other processes after what was committed here, by ending the sleep of their [`ear`](super::ear)s.
//!
//! Whoever sleeps is in the server's list of sessions, so nobody has to sign on for it, and who is at work is not disturbed. What
//! happens within a few milliseconds is told together. All of it is a hint: who is not woken looks now and then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use super::{connection::Connection, ear, error, error::Fault, row::number, site::Site};
use crate::storage::server::{Line, Purpose, Transition};

/// So long after somebody was woken, what happens meanwhile is gathered.
const GATHER: Duration = Duration::from_millis(3);
/// The same where nobody sleeps; then looking for sleepers is for nothing most of the time.
const NOBODY: Duration = Duration::from_millis(10);
/// The same where one could not look.
const TROUBLE: Duration = Duration::from_secs(1);

/// How long an answer may take: nothing that is asked here takes any time, and whoever closes waits for it.
const LIMIT: Duration = Duration::from_secs(5);

/// Those who sleep at these tables, but for our own.
const SLEEPERS: &str = "SELECT id FROM information_schema.processlist
    WHERE info = ? AND db <=> DATABASE() AND id <> ?";

const WAKE: &str = "KILL QUERY ?";

/// What that one answers of a session that is gone meanwhile, and of one that is another account's.
const NOT_OURS: [u16; 2] = [1094, 1095];

/// Whether others are still to be woken.
#[derive(Debug, Default)]
pub(super) struct Crier {
    untold: AtomicBool,
    wake: Notify,
}

impl Crier {
    /// Something was committed that others may be waiting for.
    pub(super) fn tell(&self) {
        if !self.untold.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }
}

/// Goes on until `open` is closed, and tells what is left then.
pub(super) async fn run(site: Arc<Site>, mut open: watch::Receiver<()>) {
    let mut line = Line::new(Arc::clone(&site), Purpose::Read);
    line.hasten(LIMIT);
    let mut closed = false;
    loop {
        if !closed {
            tokio::select! {
                () = site.crier.wake.notified() => {}
                _closed = open.changed() => closed = true,
            }
        }
        if !site.crier.untold.swap(false, Ordering::AcqRel) {
            if closed {
                return;
            }
            continue;
        }
        let pause = match line.run(&Wake).await {
            Ok(0) => NOBODY,
            Ok(_) => GATHER,
            Err(fault) => {
                tracing::debug!(error = %fault, "nobody is woken at {} for now", site.settings.place);
                // Some may sleep on.
                site.crier.tell();
                TROUBLE
            }
        };
        if closed {
            return;
        }
        tokio::select! {
            () = sleep(pause) => {}
            _closed = open.changed() => closed = true,
        }
    }
}

pub(super) struct Wake;

impl Transition<Site> for Wake {
    /// How many were woken.
    type Answer = usize;

    const DOING: &'static str = "cannot wake other processes";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<usize, Fault> {
        if !conn.is_direct() {
            // A proxy may take the number for one of its own, and end what somebody else does.
            return Ok(0);
        }
        let mut script = site.script();
        let sleepers = script.add(SLEEPERS, &[&ear::statement(site), &site.ear.session()]);
        let answers = conn.run(script).await?;
        let mut woken = 0;
        for row in answers.rows(sleepers)? {
            let mut script = site.script();
            script.add(WAKE, &[&number::<u64>(row, 0)?]);
            match conn.run(script).await {
                Ok(_) => woken += 1,
                Err(fault) if error::said(&fault).is_some_and(|code| NOT_OURS.contains(&code)) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(woken)
    }
}
