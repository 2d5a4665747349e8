//! Sleeps at the server until another process wakes it, as there are no notifications.
//!
//! An ear is a session that does nothing but sleep, and says in its statement whose it is. Who has stored something ends the sleep
//! of those that it finds in the list of sessions (see [`crier`](super::crier)), as every account may do with its own; then there is
//! a [`look`](super::look). It sleeps only while somebody here found no more than it took. All of it is a hint: who uses another account,
//! another server of a cluster, or a proxy, wakes nobody and is woken by nobody, and is found by the look of every second.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::{
    connection::Connection,
    error::{self, Fault},
    site::Site,
};
use crate::{
    chance::jittered,
    storage::{NodeId, server::Purpose},
};

/// Its statement. `?` is the prefix of the tables; the database is the session's.
const SLEEP: &str = "SELECT SLEEP(30), ? AS evertask_ear";
/// One that is woken by nobody is answered by then.
const LIMIT: Duration = Duration::from_secs(40);
/// No other statement may take as long.
const PATIENCE: &str = "SET SESSION autocommit = 1 /*M!, max_statement_time = 0 */";
/// The longest it may take until a session is there.
const OPEN: Duration = Duration::from_secs(10);
/// The waits between two tries, doubling.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);
/// What a sleeper hears when it is woken; some servers just end its sleep.
const INTERRUPTED: u16 = 1317;

/// What is known of the ear of this process.
#[derive(Debug, Default)]
pub(super) struct Ear {
    /// Nodes that found no more when they claimed last, and have not been told of more since.
    wanting: Mutex<HashSet<NodeId>>,
    changed: Notify,
    /// It was woken, or has only just begun to sleep.
    heard: Notify,
    /// The number of its session, by which others would wake it.
    session: AtomicU32,
}

impl Ear {
    /// A node has claimed. If it left something, it comes again by itself as soon as it has room.
    pub(super) fn claimed(&self, node: NodeId, left_something: bool) {
        if left_something {
            self.wanting().remove(&node);
        } else if self.wanting().insert(node) {
            self.changed.notify_one();
        }
    }

    /// The nodes here are about to be told that there is more. Who has room claims, and who has none need not be woken again.
    pub(super) fn is_told(&self) {
        self.wanting().clear();
    }

    pub(super) fn leaves(&self, node: NodeId) {
        self.wanting().remove(&node);
    }

    fn wanting(&self) -> MutexGuard<'_, HashSet<NodeId>> {
        self.wanting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn session(&self) -> u32 {
        self.session.load(Ordering::Relaxed)
    }

    /// Waits until there is reason to look.
    pub(super) async fn heard(&self) {
        self.heard.notified().await;
    }

    /// Nobody here wants more than there was.
    pub(super) fn is_idle(&self) -> bool {
        self.wanting().is_empty()
    }

    /// Waits until somebody does.
    async fn wanted(&self) {
        while self.is_idle() {
            self.changed.notified().await;
        }
    }
}

/// The statement by which the ears of those are known who use these tables.
pub(super) fn statement(site: &Site) -> String {
    let prefix = &site.settings.prefix;
    String::from_utf8_lossy(&prefix.fill(SLEEP, &[&prefix.text])).into_owned()
}

/// Listens until `open` is closed.
pub(super) async fn run(site: Arc<Site>, mut open: watch::Receiver<()>) {
    let mut wait = FIRST;
    while open.has_changed().is_ok() {
        let listens = async {
            site.ear.wanted().await;
            let conn = timeout(OPEN, connect(&site)).await.unwrap_or(Err(Fault::Silence(OPEN)))?;
            let Some(mut conn) = Some(conn).filter(Connection::is_direct) else {
                // Nobody could wake it.
                return std::future::pending().await;
            };
            wait = FIRST;
            site.ear.session.store(conn.id(), Ordering::Relaxed);
            listen(&site, &mut conn).await
        };
        let fault: Result<(), Fault> = tokio::select! {
            ended = listens => ended,
            () = site.doubt.raised() => Err(Fault::Silence(Duration::ZERO)),
            _closed = open.changed() => return,
        };
        if let Err(fault) = fault {
            tracing::debug!(error = %fault, "nobody wakes us at {} for now", site.settings.place);
        }
        tokio::select! {
            () = sleep(jittered(wait)) => wait = (wait * 2).min(LONGEST),
            _closed = open.changed() => return,
        }
    }
}

/// A session that may sleep.
async fn connect(site: &Site) -> Result<Connection, Fault> {
    let mut conn = Connection::open(&site.settings, Purpose::Read).await?;
    conn.ask(PATIENCE).await?;
    Ok(conn)
}

async fn listen(site: &Site, conn: &mut Connection) -> Result<(), Fault> {
    let statement = statement(site);
    loop {
        site.ear.wanted().await;
        // What is stored from now on ends the sleep; what was stored before is seen by the look that comes after it has begun.
        let sleep = timeout(LIMIT, conn.ask(&statement));
        let (slept, ()) = tokio::join!(sleep, async { site.ear.heard.notify_one() });
        match slept.unwrap_or(Err(Fault::Silence(LIMIT))) {
            Err(fault) if error::said(&fault) == Some(INTERRUPTED) => {}
            slept => drop(slept?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_wants_more_who_left_nothing_and_was_not_told_since() {
        let (ear, [one, other]) = (Ear::default(), [NodeId::now_v7(), NodeId::now_v7()]);
        assert!(ear.is_idle());
        ear.claimed(one, false);
        ear.claimed(other, true);
        assert!(!ear.is_idle());
        ear.claimed(one, true);
        assert!(ear.is_idle());
        ear.claimed(one, false);
        ear.is_told();
        assert!(ear.is_idle());
        ear.claimed(one, false);
        ear.leaves(one);
        assert!(ear.is_idle());
    }
}
