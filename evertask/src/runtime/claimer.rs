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
    storage::{Claim, Claimed, ClaimedTask, Ended, Room},
    task::TaskId,
};

/// How long to sleep at most while nothing is known to become due: against all that a hint can miss.
const SAFETY: Duration = Duration::from_secs(120);

/// How long to wait at first and at most where something is due that somebody else has locked at this moment: another node that
/// claims it, or a caller whose transaction replaces it and may last.
const IN_VAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(140));

/// How long a node lives before it runs a suspect.
const PROOF: Duration = Duration::from_secs(1);

/// The loop.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut work = shared.storage.bell().listen_work();
    let mut patience = Patience::new();
    let mut suspects = Suspects { turn: Turn::Ordinary, not_before: Instant::now() + PROOF };
    // A claim whose reply did not come: it may have been carried out, so it is asked again before any other. And how often the desk
    // had been shut when it was made.
    let mut unanswered: Option<(Claim, u64)> = None;
    let mut asking = None;
    let mut rung = work.borrow().rung;
    let mut look_at: Option<Instant> = None;
    // What became due until then has been seen, or its queues are marked as worth a look.
    let mut looked = Instant::now();
    let mut safety = looked + jittered(SAFETY);
    let mut held_up = false;
    // What is due is locked: nothing is asked for until then, unless something is rung.
    let (mut in_vain, mut locked_until) = (Patience::between(IN_VAIN), None::<Instant>);
    loop {
        if shared.hooks.count() > HOOKS_MAX {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        }
        // Read before the look: what is rung from now on is seen by the wait below.
        let hint = *work.borrow_and_update();
        // Something new in the future only sets the timer. And if suspects are over, there is what waited for them.
        let over = suspects.over(&shared);
        if over || hint.rung != rung {
            rung = hint.rung;
            locked_until = None;
            shared.desk.look();
        }
        let now = Instant::now();
        let announced = hint.soonest.filter(|at| *at > looked);
        let look = [look_at, announced].into_iter().flatten().fold(safety, Instant::min);
        // Seen to at each turn: where one queue always has something to claim, the wait below is never reached.
        if look <= now {
            (looked, look_at) = (now, None);
            safety = now + jittered(SAFETY);
            shared.desk.look();
        }
        let hold = suspects.hold(&shared);
        // What has waited may join by now, if there is any.
        if hold.is_none() && std::mem::take(&mut held_up) {
            shared.desk.look();
        }
        held_up = hold.is_some();
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
        locked_until = locked_until.filter(|until| now < *until);
        let ordinary = || {
            let free = hold.is_none() && locked_until.is_none();
            let wanted = if free { shared.desk.wanted() } else { None };
            wanted.map(|wanted| (shared.claim(wanted.rooms, wanted.slots), shuts))
        };
        if let Some((claim, shuts)) = claim.or_else(ordinary) {
            looked = now;
            match shared.calls.claim.make(shared.storage.claim(claim.clone())).await {
                Ok(claimed) => {
                    patience = Patience::new();
                    suspects.saw(&claim, &claimed);
                    if !claim.suspect && !claimed.more {
                        shared.desk.seen(&claim.queues);
                        // Of queues that had no room this time it was said before.
                        let before = look_at.filter(|at| *at > looked);
                        let next = claimed.next_due.map(|due| soon(Instant::now(), due));
                        look_at = before.into_iter().chain(next).min();
                    }
                    let nothing = claimed.tasks.is_empty() && claimed.expired.is_empty();
                    if nothing && claimed.more && !claim.suspect {
                        locked_until = Some(Instant::now() + in_vain.wait());
                    } else {
                        in_vain = Patience::between(IN_VAIN);
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
        let timers = [hold, suspects.wait(), locked_until].into_iter().flatten();
        let wake_at = timers.fold(look, Instant::min);
        tokio::select! {
            biased;
            () = shared.draining.wait() => return,
            rung = work.changed() => {
                if rung.is_err() {
                    return;
                }
            }
            () = sleep_until(wake_at) => {}
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
///
/// Where there are many, they take turns with ordinary work. Under one clearing they run one after the other, for as long as
/// nothing else waits and then for a lease; so none has to wait for them for longer than for one. After that, ordinary work goes
/// on for as long as it had to wait.
#[derive(Debug)]
struct Suspects {
    turn: Turn,
    /// None is to run before: the node is too young, or ordinary work has its turn.
    not_before: Instant,
}

#[derive(Debug)]
enum Turn {
    /// Ordinary work is done, and nothing else is known to be due.
    Ordinary,
    /// A suspect is due, and is to wait until then.
    Waiting { until: Instant },
    /// One is due, and the desk is to clear first. Ordinary work may have been waiting since.
    Clearing { since: Instant },
    /// One runs, and has done so for some of the time that ordinary work may have been waiting.
    Running { since: Instant, began: Instant, id: TaskId, lease: u64, others: bool },
}

impl Suspects {
    /// The one that ran has ended, or there is no more need to wait for any.
    fn over(&mut self, shared: &Shared) -> bool {
        let now = Instant::now();
        match self.turn {
            Turn::Waiting { until } if now >= until => {
                self.turn = Turn::Ordinary;
                true
            }
            Turn::Running { since, began, id, lease, others } if !shared.desk.holds(id, lease) => {
                let limit = shared.settings.lease;
                if others && now < since + limit {
                    self.turn = Turn::Clearing { since };
                } else {
                    self.end(since, now.min(began + limit));
                }
                true
            }
            _ => false,
        }
    }

    /// The turn of suspects ends, for which ordinary work waited all the time.
    fn end(&mut self, since: Instant, until: Instant) {
        self.turn = Turn::Ordinary;
        self.not_before = until + until.saturating_duration_since(since);
    }

    /// Until when nothing ordinary is to be claimed.
    fn hold(&self, shared: &Shared) -> Option<Instant> {
        let until = match self.turn {
            Turn::Ordinary | Turn::Waiting { .. } => return None,
            Turn::Clearing { since: from } | Turn::Running { began: from, .. } => {
                from + shared.settings.lease
            }
        };
        (Instant::now() < until).then_some(until)
    }

    /// Until when none is to run.
    fn wait(&self) -> Option<Instant> {
        match self.turn {
            Turn::Waiting { until } => Some(until),
            Turn::Ordinary | Turn::Clearing { .. } | Turn::Running { .. } => None,
        }
    }

    /// A suspect is to be claimed now.
    fn are_next(&self, shared: &Shared) -> bool {
        match self.turn {
            Turn::Clearing { .. } => shared.desk.used() == 0 || self.hold(shared).is_none(),
            Turn::Ordinary | Turn::Waiting { .. } | Turn::Running { .. } => false,
        }
    }

    fn saw(&mut self, claim: &Claim, claimed: &Claimed) {
        let (now, idle) = (Instant::now(), claimed.tasks.is_empty() && !claimed.more);
        match &mut self.turn {
            Turn::Clearing { since } if claim.suspect => {
                let since = if claimed.more { *since } else { now };
                match claimed.tasks.first() {
                    Some(&ClaimedTask { id, lease, .. }) => {
                        let others = claimed.suspect_due;
                        self.turn = Turn::Running { since, began: now, id, lease, others };
                    }
                    // Another node was faster.
                    None => self.end(since, now),
                }
            }
            // Others may join by now, and there are none.
            Turn::Running { since, .. } if idle => *since = now,
            Turn::Ordinary if claimed.suspect_due => {
                let until = self.not_before;
                self.turn = match now < until {
                    true => Turn::Waiting { until },
                    false => Turn::Clearing { since: now },
                };
            }
            _ => {}
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
