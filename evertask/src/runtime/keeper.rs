//! Keeps storage and node of one mind about what the node holds: it renews, follows orders, gives back what it does not know of.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{
    chance::jittered,
    runtime::{Shared, attempt, calls::LIMIT, rescue},
    stop::Stop,
    storage::{Beat, Held, Settled, Settlement},
    task::TaskId,
    verdict::Verdict,
};

/// How often a busy node looks after what it holds.
const BUSY: Duration = Duration::from_secs(1);
/// How often to renew where nothing rings, nothing is held, and no signs of life are needed from here.
const SAFETY: Duration = Duration::from_secs(120);

/// The loop.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut orders = shared.storage.bell().listen_orders();
    let mut renewed = Instant::now();
    let mut pause = Duration::ZERO;
    loop {
        let busy = shared.desk.len() > 0;
        let busy_at = Instant::now() + if busy { BUSY } else { SAFETY };
        let renew_at = renewed + pause.min(longest(&shared, busy));
        tokio::select! {
            biased;
            () = shared.left.wait() => return,
            rung = orders.changed() => {
                if rung.is_err() {
                    return;
                }
                pause = Duration::ZERO;
            }
            () = shared.desk.busy.notified() => continue,
            () = sleep_until(renew_at.min(busy_at)) => {}
        }
        for task in shared.desk.overdue() {
            attempt::give_back(&shared, &task);
        }
        let unmarked = shared.desk.unmarked();
        let due = Instant::now() >= renewed + pause.min(longest(&shared, busy));
        if due || !unmarked.is_empty() || shared.is_to_announce_itself() {
            pause = match renew(&shared, unmarked).await {
                Ok(true) => jittered(longest(&shared, busy)),
                // A claim was under way: what it brought is compared in a moment.
                Ok(false) => Duration::from_millis(50),
                Err(()) => Duration::from_millis(500),
            };
            renewed = Instant::now();
        }
    }
}

/// The longest between two renewals. Where they are the signs of life, there are several within a lease; so there are while
/// something is held that others may have taken or cancelled. Else it is enough to show now and then that the executor moves.
fn longest(shared: &Shared, busy: bool) -> Duration {
    let beats = shared.storage.needs_beats();
    let by_itself = shared.storage.since_beat(shared.node.id).is_some();
    if beats && (busy || !by_itself) {
        shared.settings.lease / 5
    } else if by_itself {
        SAFETY.min(shared.settings.stall_limit / 4)
    } else {
        SAFETY
    }
}

/// How long a renewal may take. One that is the node's only sign of life leaves time for others within a lease.
fn limit(shared: &Shared) -> Duration {
    let lives_by_it =
        shared.storage.needs_beats() && shared.storage.since_beat(shared.node.id).is_none();
    if lives_by_it { LIMIT.min(shared.settings.lease / 4) } else { LIMIT }
}

/// Renews, and does what storage says: stop what is cancelled or lost, give back what we do not know we hold.
///
/// `Ok(false)`: part of the answer could not be understood yet.
async fn renew(shared: &Arc<Shared>, begun: Vec<(TaskId, u64)>) -> Result<bool, ()> {
    let limit = limit(shared);
    if shared.is_to_announce_itself() {
        // Signed off, or forgotten: a node that only renewed would be one of which nothing else is known.
        let join = shared.storage.join(shared.node.clone());
        match shared.calls.renew.begin_within(limit, join).await {
            Ok(()) => shared.touch.announced(),
            Err(error) => {
                shared.trouble(&shared.calls.renew, &error);
                return Err(());
            }
        }
    }
    let sent = Instant::now();
    let mut beat = Beat::new(shared.node.id);
    beat.begun.clone_from(&begun);
    // Asked before storage is: what comes onto the desk later cannot be missing in the answer. Nor can what is there now: it is by
    // a claim of which the desk tells in the same breath.
    let before = shared.desk.leases();
    let claims = shared.desk.claims();
    let answered = claims.answered;
    beat.claims = Some(claims);
    let held = match shared.calls.renew.make_within(limit, shared.storage.renew(beat)).await {
        Ok(held) => held,
        Err(error) => {
            shared.trouble(&shared.calls.renew, &error);
            return Err(());
        }
    };
    shared.touch.renewed(sent);
    shared.desk.mark(&begun);
    let (mut understood, mut seized, mut strays) = (true, false, Vec::new());
    for Held { id, lease, claim, cancel } in &held {
        if !shared.desk.holds(*id, *lease) {
            if *claim > answered {
                understood = false;
            } else if *claim == 0 {
                seized = true;
            } else {
                strays.push((*id, *lease));
            }
        } else if *cancel && let Some(task) = shared.desk.stop(*id, Some(*lease), Stop::Cancel) {
            attempt::cancel_unstarted(shared, &task);
        }
    }
    let held: HashSet<_> = held.into_iter().map(|held| (held.id, held.lease)).collect();
    for (id, lease) in before {
        if !held.contains(&(id, lease)) && shared.desk.leases().contains(&(id, lease)) {
            tracing::warn!(%id, lease, "another node has taken this task; its handler is stopped here");
            let _none = shared.desk.stop(id, Some(lease), Stop::Lost);
        }
    }
    // What is to be stored may take its time, so it comes last: what runs here and is to stop has been told by now.
    if !strays.is_empty() {
        give_back_strays(shared, &strays).await;
    }
    let taken_up = if seized { rescue::take_up(shared).await? } else { true };
    Ok(taken_up && understood)
}

/// Storage believes we hold them and we do not: the reply that would have told us was lost. Or their ends were stored while it
/// answered; then this is refused.
async fn give_back_strays(shared: &Shared, strays: &[(TaskId, u64)]) {
    let release = |&(id, lease): &_| Settlement::new(id, lease, Verdict::Release);
    let settle = shared.storage.settle(strays.iter().map(release).collect());
    // The next renewal comes back to what is not answered soon, and meanwhile there may be more to be told.
    let limit = LIMIT.min(shared.settings.lease / 4);
    match shared.calls.settle.make_within(limit, settle).await {
        Ok(settled) => {
            for ((id, lease), settled) in strays.iter().zip(settled) {
                if settled != Settled::Refused {
                    tracing::info!(%id, lease, "gave back a task whose claim was never answered");
                }
            }
        }
        Err(error) => shared.trouble(&shared.calls.settle, &error),
    }
}
