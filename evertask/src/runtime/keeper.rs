//! Keeps storage and node of one mind: signs of life, orders, a look after other nodes, deletion of what is out of time.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{
    chance::jittered,
    runtime::{Shared, attempt, claimer, rescue, watch::Watch},
    stop::Stop,
    storage::{Beat, Held, Settled, Settlement},
    task::TaskId,
};

/// How often a busy node looks after what it holds.
const BUSY: Duration = Duration::from_secs(1);
/// The most that is pruned in one go.
const PRUNE: usize = 1_000;
/// How often there may be a round of pruning.
const PRUNE_EVERY: Duration = Duration::from_secs(30);
/// How soon to look again after what could not be taken over.
const LOCKED: Duration = Duration::from_millis(250);
/// How often to look after peers and orders where nothing rings and no signs of life are needed.
const SAFETY: Duration = Duration::from_secs(120);

/// The loop.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut orders = shared.storage.bell().listen_orders();
    let mut peers = shared.storage.bell().listen_peers();
    let beats = shared.storage.needs_beats();
    let every = if beats { shared.settings.lease / 5 } else { SAFETY };
    let mut watch = Watch::new(shared.settings.lease);
    let (mut renew_at, mut peers_at, mut prune_at) =
        (Instant::now(), Instant::now(), soon(PRUNE_EVERY));
    loop {
        let busy = shared.desk.len() > 0;
        let busy_at = Instant::now() + if busy { BUSY } else { SAFETY };
        let next = renew_at.min(peers_at).min(prune_at).min(busy_at);
        tokio::select! {
            biased;
            () = shared.left.wait() => return,
            rung = orders.changed() => {
                if rung.is_err() {
                    return;
                }
                renew_at = Instant::now();
            }
            rung = peers.changed() => {
                if rung.is_err() {
                    return;
                }
                peers_at = Instant::now();
            }
            () = shared.desk.busy.notified() => continue,
            () = sleep_until(next) => {}
        }
        for task in shared.desk.overdue() {
            attempt::give_back(&shared, &task);
        }
        let unmarked = shared.desk.unmarked();
        let now = Instant::now();
        if now >= renew_at || !unmarked.is_empty() {
            renew_at = match renew(&shared, unmarked).await {
                Ok(true) => soon(jittered(every)),
                // A claim was under way: what it brought is compared in a moment.
                Ok(false) => soon(Duration::from_millis(50)),
                Err(()) => {
                    // What keeps our signs of life from the storage may well keep those of the others.
                    watch.forget();
                    soon(Duration::from_millis(500))
                }
            };
        }
        if now >= peers_at {
            rescue::look_after_peers(&shared, &mut watch).await;
            // As soon as one may be dead. If that is now, what it holds is locked: by another rescuer, who may have been stopped.
            let next = watch.next().map(|at| if at > Instant::now() { at } else { soon(LOCKED) });
            let usual = soon(jittered(every));
            peers_at = next.map_or(usual, |at| at.min(usual));
        }
        if now >= prune_at {
            prune_at = soon(prune(&shared).await);
        }
    }
}

fn soon(delay: Duration) -> Instant {
    Instant::now() + delay
}

/// Renews, and does what storage says: stop what is cancelled or lost, give back what we do not know we hold.
///
/// `Ok(false)`: part of the answer could not be understood yet.
async fn renew(shared: &Arc<Shared>, begun: Vec<(TaskId, u64)>) -> Result<bool, ()> {
    let mut beat = Beat::new(shared.node.id);
    beat.begun.clone_from(&begun);
    // Asked before storage is: what comes onto the desk later cannot be missing in the answer.
    let before = shared.desk.leases();
    let claims_done = shared.desk.claims_done();
    let held = match shared.calls.renew.make(shared.storage.renew(beat)).await {
        Ok(held) => held,
        Err(error) => {
            shared.trouble(&shared.calls.renew, &error);
            return Err(());
        }
    };
    shared.desk.mark(&begun);
    let mut understood = true;
    for Held { id, lease, claim, cancel } in &held {
        if !shared.desk.holds(*id, *lease) {
            if *claim > claims_done {
                understood = false;
            } else {
                give_back_stray(shared, *id, *lease).await;
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
    Ok(understood)
}

/// Storage believes we hold it and we do not: the reply that would have told us was lost.
async fn give_back_stray(shared: &Shared, id: TaskId, lease: u64) {
    let release = Settlement::new(id, lease, crate::verdict::Verdict::Release);
    match shared.calls.settle.make(shared.storage.settle(vec![release])).await {
        Ok(settled) if settled == [Settled::Refused] => {}
        Ok(_) => tracing::info!(%id, lease, "gave back a task whose claim was never answered"),
        Err(error) => shared.trouble(&shared.calls.settle, &error),
    }
}

/// Deletes what is out of its time; returns how long until the next round.
async fn prune(shared: &Arc<Shared>) -> Duration {
    match shared.calls.prune.make(shared.storage.prune(PRUNE)).await {
        Ok(pruned) => {
            claimer::tell_expired(shared, pruned.expired);
            match pruned.next {
                // A full round: the next one soon, but not at the cost of the tasks themselves.
                Some(next) if next.is_zero() => Duration::from_millis(100),
                Some(next) => next.max(PRUNE_EVERY).min(Duration::from_secs(3600)),
                // Nothing is kept for a time; whatever ends from now on is kept at least for a while.
                None => Duration::from_secs(600),
            }
        }
        Err(error) => {
            shared.trouble(&shared.calls.prune, &error);
            PRUNE_EVERY
        }
    }
}
