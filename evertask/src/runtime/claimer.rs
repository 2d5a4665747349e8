//! Brings due tasks from storage onto the desk: as many as there is room for, as soon as they are due, and no look without
//! reason.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{
    event::{Event, EventKind},
    runtime::{
        Shared, attempt,
        hooks::HOOKS_MAX,
        patience::{Patience, jittered},
    },
    storage::{Claim, Claimed, Ended, Room},
};

/// How long to sleep at most while nothing is known to become due: against all that a hint can miss.
const SAFETY: Duration = Duration::from_secs(120);

/// The loop.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut work = shared.storage.bell().listen_work();
    let mut patience = Patience::new();
    let mut suspects = Suspects::default();
    let mut look_at: Option<Instant> = None;
    let mut more = true;
    // A claim whose reply did not come: it may have been carried out, so it is asked again before any other.
    let mut unanswered: Option<Claim> = None;
    loop {
        if shared.hooks.count() > HOOKS_MAX {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        }
        // Read before the look: what is rung from now on is seen by the wait below.
        let hint = *work.borrow_and_update();
        let hold = suspects.hold(&shared);
        let claim = if let Some(claim) = unanswered.take() {
            Some(claim)
        } else if suspects.claim_now(&shared) {
            Some(shared.claim_suspect())
        } else if more && hold.is_none() {
            shared.desk.wanted().map(|wanted| shared.claim(wanted.rooms, wanted.slots))
        } else {
            None
        };
        if let Some(claim) = claim {
            match shared.calls.claim.make(shared.storage.claim(claim.clone())).await {
                Ok(claimed) => {
                    patience = Patience::new();
                    let next_due = claimed.next_due.map(|due| soon(Instant::now(), due));
                    suspects.saw(&claim, &claimed);
                    more = claimed.more || (claim.suspect && more);
                    look_at = if claim.suspect { look_at } else { next_due };
                    take(&shared, &claim, claimed);
                }
                Err(error) => {
                    shared.trouble("claim", &error);
                    unanswered = Some(claim);
                    tokio::time::sleep(patience.wait()).await;
                    if shared.draining.is_set() {
                        return;
                    }
                    continue;
                }
            }
            // More room may have come free meanwhile, and more tasks.
            if more {
                continue;
            }
        }
        let safety = Instant::now() + jittered(SAFETY);
        let soonest = hint.soonest.filter(|at| *at > Instant::now() || !more);
        let look = [look_at, soonest, hold, Some(safety)].into_iter().flatten().min().unwrap_or(safety);
        tokio::select! {
            rung = work.changed() => {
                if rung.is_err() {
                    return;
                }
                // Something new in the future only sets the timer; something due now asks for a look.
                more |= work.borrow().rung != hint.rung;
            }
            () = sleep_until(look) => {
                more = true;
                look_at = None;
            }
            () = shared.desk.freed.notified() => {}
            () = shared.draining.wait() => return,
        }
    }
}

/// An instant after the delay; never so far that it cannot be made.
fn soon(now: Instant, delay: Duration) -> Instant {
    now + delay.min(SAFETY)
}

fn take(shared: &Arc<Shared>, claim: &Claim, claimed: Claimed) {
    tell_expired(shared, claimed.expired);
    if !claimed.tasks.is_empty() {
        tracing::trace!(tasks = claimed.tasks.len(), more = claimed.more, "claimed");
    }
    for task in shared.desk.take(claim.id, claimed.tasks) {
        attempt::spawn(shared, task);
    }
}

pub(crate) fn tell_expired(shared: &Shared, expired: Vec<Ended>) {
    for ended in expired {
        tracing::info!(id = %ended.id, name = &*ended.name, "expired before it could be started");
        let Ended { id, name, queue, attempt } = ended;
        let event = || Event::new(id, name, queue, attempt, EventKind::Cancelled).error("expired");
        shared.events.tell(event);
    }
}

/// Sees to it that a task which may have killed its node runs alone: nothing is claimed until the desk is clear, or has had a
/// lease's time to clear, and nothing while it runs, for as long again. So a crash tells whether it is to blame, and a harmless
/// suspect costs a bounded pause.
#[derive(Debug, Default)]
enum Suspects {
    #[default]
    None,
    /// One is due, and the desk is to clear first.
    Clearing { since: Instant },
    /// One runs.
    Running { since: Instant },
}

impl Suspects {
    /// Until when nothing ordinary is to be claimed.
    fn hold(&mut self, shared: &Shared) -> Option<Instant> {
        let lease = shared.settings.lease;
        let since = match self {
            Self::None => return None,
            Self::Clearing { since } => return Some(*since + lease),
            Self::Running { since } => *since,
        };
        if shared.desk.used() == 0 {
            *self = Self::None;
        }
        let until = since + lease;
        (matches!(self, Self::Running { .. }) && Instant::now() < until).then_some(until)
    }

    /// A suspect is to be claimed now.
    fn claim_now(&self, shared: &Shared) -> bool {
        match self {
            Self::Clearing { since } => {
                shared.desk.used() == 0 || since.elapsed() >= shared.settings.lease
            }
            Self::None | Self::Running { .. } => false,
        }
    }

    fn saw(&mut self, claim: &Claim, claimed: &Claimed) {
        let since = Instant::now();
        *self = match self {
            _ if claim.suspect && !claimed.tasks.is_empty() => Self::Running { since },
            _ if claim.suspect => Self::None,
            Self::None if claimed.suspect_due => Self::Clearing { since },
            Self::None => Self::None,
            Self::Clearing { since } => Self::Clearing { since: *since },
            Self::Running { since } => Self::Running { since: *since },
        };
    }
}

impl Shared {
    /// A claim for this room.
    fn claim(&self, rooms: Vec<Room>, slots: usize) -> Claim {
        let id = self.claim_next.fetch_add(1, Ordering::SeqCst);
        let mut claim = Claim::new(id, self.node.id, Arc::clone(&self.node.handlers), slots);
        claim.queues = rooms;
        claim.keep_expired = self.settings.keep(None, "").cancelled;
        claim
    }

    /// A claim for one suspect, from wherever it may be.
    fn claim_suspect(&self) -> Claim {
        let room = |queue| Room { queue, slots: 1, ahead: 0 };
        let mut claim = self.claim(self.desk.queues().into_iter().map(room).collect(), 1);
        claim.suspect = true;
        claim
    }
}
