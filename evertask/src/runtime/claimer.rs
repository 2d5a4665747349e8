//! Brings due tasks from storage onto the desk: as many as there is room for, as soon as they are due, and no look without
//! reason.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{
    chance::jittered,
    event::EventKind,
    runtime::{Shared, attempt, desk::Taken, hooks::HOOKS_MAX, patience::Patience, touch},
    storage::{Claim, Claimed, Ended, Room},
    task::TaskId,
};

/// How long to sleep at most while nothing is known to become due: against all that a hint can miss.
const SAFETY: Duration = Duration::from_secs(120);

/// How long a node lives before it runs a suspect.
const PROOF: Duration = Duration::from_secs(1);

/// The loop.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut work = shared.storage.bell().listen_work();
    let mut patience = Patience::new();
    let mut suspects = Suspects::default();
    let proven = Instant::now() + PROOF;
    // A claim whose reply did not come: it may have been carried out, so it is asked again before any other. And how often the desk
    // had been shut when it was made.
    let mut unanswered: Option<(Claim, u64)> = None;
    let mut asking = None;
    let mut rung = work.borrow().rung;
    let mut look_at: Option<Instant> = None;
    // What became due until then has been seen, or its queues are marked as worth a look.
    let mut looked = Instant::now();
    loop {
        if shared.hooks.count() > HOOKS_MAX {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        }
        // Read before the look: what is rung from now on is seen by the wait below.
        let hint = *work.borrow_and_update();
        // Something new in the future only sets the timer. And if one suspect is over, there may be others.
        if hint.rung != rung || suspects.over(&shared) {
            rung = hint.rung;
            shared.desk.look();
        }
        let hold = suspects.hold(&shared);
        // Said before the desk is asked for room: a shutdown that closes the desk after that waits for what is claimed.
        let until_taken = asking.take().unwrap_or_else(|| shared.claiming.enter());
        // Read before the desk is asked for room as well: what is claimed is refused if the desk is shut from here on.
        let shuts = shared.desk.shuts();
        let claim = if let Some(claim) = unanswered.take() {
            Some(claim)
        } else if suspects.are_next(&shared) {
            shared.desk.room_for_one().map(|rooms| (shared.claim_suspect(rooms), shuts))
        } else {
            None
        };
        let ordinary = || {
            let wanted = if hold.is_none() { shared.desk.wanted() } else { None };
            wanted.map(|wanted| (shared.claim(wanted.rooms, wanted.slots), shuts))
        };
        if let Some((claim, shuts)) = claim.or_else(ordinary) {
            looked = Instant::now();
            match shared.calls.claim.make(shared.storage.claim(claim.clone())).await {
                Ok(claimed) => {
                    patience = Patience::new();
                    suspects.saw(&claim, &claimed, proven);
                    if !claim.suspect && !claimed.more {
                        shared.desk.seen(&claim.queues);
                        // Of queues that had no room this time it was said before.
                        let before = look_at.filter(|at| *at > looked);
                        let next = claimed.next_due.map(|due| soon(Instant::now(), due));
                        look_at = before.into_iter().chain(next).min();
                    }
                    take(&shared, &claim, shuts, claimed);
                }
                Err(error) => {
                    shared.trouble(&shared.calls.claim, &error);
                    unanswered = Some((claim, shuts));
                    tokio::time::sleep(patience.wait()).await;
                    // A node that drains asks on: what it got has to be given back.
                    asking = Some(until_taken);
                    if shared.left.is_set() {
                        return;
                    }
                }
            }
            // More room may have come free meanwhile, and more tasks.
            continue;
        }
        drop(until_taken);
        let announced = hint.soonest.filter(|at| *at > looked);
        let timers = [look_at, announced, hold, suspects.proof()].into_iter().flatten();
        let look = timers.fold(Instant::now() + jittered(SAFETY), Instant::min);
        tokio::select! {
            biased;
            () = shared.draining.wait() => return,
            rung = work.changed() => {
                if rung.is_err() {
                    return;
                }
            }
            () = sleep_until(look) => {
                (looked, look_at) = (Instant::now(), None);
                shared.desk.look();
            }
            () = shared.desk.freed.notified() => {}
        }
    }
}

/// An instant after the delay; never so far that it cannot be made.
fn soon(now: Instant, delay: Duration) -> Instant {
    now + delay.min(SAFETY)
}

fn take(shared: &Arc<Shared>, claim: &Claim, shuts: u64, claimed: Claimed) {
    tell_expired(shared, claimed.expired);
    if !claimed.tasks.is_empty() {
        tracing::trace!(tasks = claimed.tasks.len(), more = claimed.more, "claimed");
    }
    // The answer may have come just before anybody looked how long it had taken.
    touch::stop_if_out_of_touch(shared);
    let Taken { begin, refused } = shared.desk.take(claim.id, shuts, claimed.tasks);
    for task in begin {
        attempt::spawn(shared, task);
    }
    for task in refused {
        attempt::give_back(shared, &task);
    }
}

pub(crate) fn tell_expired(shared: &Arc<Shared>, expired: Vec<Ended>) {
    for ended in expired {
        tracing::info!(id = %ended.id, name = &*ended.name, "expired before it could be started");
        shared.tell_ended(ended, EventKind::Cancelled, "expired");
    }
}

/// Sees to it that a task which may have killed its node runs alone: nothing is claimed until the desk is clear, or has had a
/// lease's time to clear, and nothing while it runs, for as long again. So a crash tells whether it is to blame, and a harmless
/// suspect costs a bounded pause. And none runs before the node has lived a moment without: nodes that die as soon as they
/// start die of something else.
#[derive(Debug, Default)]
enum Suspects {
    #[default]
    None,
    /// One is due, and the node has yet to live without it until then.
    Proving { until: Instant },
    /// One is due, and the desk is to clear first.
    Clearing { since: Instant },
    /// One runs.
    Running { since: Instant, id: TaskId, lease: u64 },
}

impl Suspects {
    /// The one that ran has ended, or there is no more need to wait for any.
    fn over(&mut self, shared: &Shared) -> bool {
        match self {
            Self::Proving { until } if Instant::now() >= *until => {
                *self = Self::None;
                true
            }
            Self::Running { id, lease, .. } if !shared.desk.holds(*id, *lease) => {
                *self = Self::None;
                true
            }
            _ => false,
        }
    }

    /// Until when nothing ordinary is to be claimed.
    fn hold(&self, shared: &Shared) -> Option<Instant> {
        let until = match self {
            Self::None | Self::Proving { .. } => return None,
            Self::Clearing { since } | Self::Running { since, .. } => {
                *since + shared.settings.lease
            }
        };
        (Instant::now() < until).then_some(until)
    }

    /// Until when none is to run.
    fn proof(&self) -> Option<Instant> {
        match self {
            Self::Proving { until } => Some(*until),
            Self::None | Self::Clearing { .. } | Self::Running { .. } => None,
        }
    }

    /// A suspect is to be claimed now.
    fn are_next(&self, shared: &Shared) -> bool {
        match self {
            Self::Clearing { .. } => shared.desk.used() == 0 || self.hold(shared).is_none(),
            Self::None | Self::Proving { .. } | Self::Running { .. } => false,
        }
    }

    fn saw(&mut self, claim: &Claim, claimed: &Claimed, proven: Instant) {
        let since = Instant::now();
        if claim.suspect {
            *self = claimed.tasks.first().map_or(Self::None, |task| Self::Running {
                since,
                id: task.id,
                lease: task.lease,
            });
        } else if claimed.suspect_due && matches!(self, Self::None) {
            *self = if since < proven {
                Self::Proving { until: proven }
            } else {
                Self::Clearing { since }
            };
        }
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

    /// A claim for one suspect.
    fn claim_suspect(&self, rooms: Vec<Room>) -> Claim {
        let mut claim = self.claim(rooms, 1);
        claim.suspect = true;
        claim
    }
}
