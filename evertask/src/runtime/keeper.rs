//! Keeps storage and node of one mind: signs of life, orders, rescue of what dead nodes held, deletion of what is out of time.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{
    event::{Event, EventKind},
    failure::Failure,
    runtime::{Shared, attempt, claimer, patience::jittered},
    stop::Stop,
    storage::{
        AttemptRecord, Beat, Held, Life, Lost, NodeId, Peer, Settled, Settlement, StorageError,
    },
    task::{AttemptEnd, TaskId, TaskState},
    verdict::{History, Outcome, judge},
};

/// How often a busy node looks after what it holds.
const BUSY: Duration = Duration::from_secs(1);
/// The most that is pruned in one go.
const PRUNE: usize = 1_000;
/// How often there may be a round of pruning.
const PRUNE_EVERY: Duration = Duration::from_secs(30);
/// How often to look after peers and orders where nothing rings and no signs of life are needed.
const SAFETY: Duration = Duration::from_secs(120);

/// The loop.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut orders = shared.storage.bell().listen_orders();
    let mut peers = shared.storage.bell().listen_peers();
    let beats = shared.storage.needs_beats();
    let every = if beats { shared.settings.lease / 5 } else { SAFETY };
    let mut watch = Watch::default();
    let (mut renew_at, mut peers_at, mut prune_at) =
        (Instant::now(), Instant::now(), soon(PRUNE_EVERY));
    loop {
        let busy = shared.desk.len() > 0;
        let busy_at = Instant::now() + if busy { BUSY } else { SAFETY };
        let next = renew_at.min(peers_at).min(prune_at).min(busy_at);
        tokio::select! {
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
            () = shared.left.wait() => return,
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
                Err(()) => soon(Duration::from_millis(500)),
            };
        }
        if now >= peers_at {
            look_after_peers(&shared, &mut watch).await;
            peers_at = soon(jittered(every));
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

/// Looks for dead nodes and takes over what they held.
async fn look_after_peers(shared: &Arc<Shared>, watch: &mut Watch) {
    let peers = match shared.calls.peers.make(shared.storage.peers(shared.node.id)).await {
        Ok(peers) => peers,
        Err(error) => {
            shared.trouble(&shared.calls.peers, &error);
            // Who was out of touch has seen nobody die.
            watch.forget();
            return;
        }
    };
    for node in watch.dead(&peers, Instant::now(), shared.settings.lease) {
        if let Err(error) = rescue(shared, node).await {
            shared.trouble(&shared.calls.peers, &error);
        }
    }
}

/// Who is seen to be dead: whose signs of life have stood still for a whole lease while we were looking.
#[derive(Debug, Default)]
struct Watch(HashMap<NodeId, (u64, Instant)>);

impl Watch {
    fn dead(&mut self, peers: &[Peer], now: Instant, lease: Duration) -> Vec<NodeId> {
        self.0.retain(|node, _| peers.iter().any(|peer| peer.node == *node));
        let mut dead = Vec::new();
        for Peer { node, life } in peers {
            match life {
                Life::Alive => {}
                Life::Dead => dead.push(*node),
                Life::Beats(beats) => {
                    let seen = self.0.entry(*node).or_insert((*beats, now));
                    if seen.0 != *beats {
                        *seen = (*beats, now);
                    } else if now - seen.1 > lease {
                        dead.push(*node);
                    }
                }
            }
        }
        dead
    }

    fn forget(&mut self) {
        self.0.clear();
    }
}

/// Takes over everything a dead node held and judges it.
async fn rescue(shared: &Arc<Shared>, dead: NodeId) -> Result<(), StorageError> {
    loop {
        let lost =
            shared.calls.peers.make(shared.storage.seize(dead, shared.node.id, 1_000)).await?;
        if lost.is_empty() {
            return Ok(());
        }
        tracing::warn!(node = %dead, tasks = lost.len(), "a node died; its tasks are pending again");
        let settlements: Vec<_> = lost.iter().map(|lost| judge_lost(shared, lost)).collect();
        let settled = shared.calls.settle.make(shared.storage.settle(settlements)).await?;
        for (lost, settled) in lost.into_iter().zip(settled) {
            let kind = match settled {
                Settled::Applied(TaskState::Failed) => {
                    tracing::error!(
                        id = %lost.id, name = &*lost.name, queue = &*lost.queue, losses = lost.lost_alone + 1,
                        "failed for good: node after node died while this task ran and nothing else did; retry it once \
                         its handler is mended"
                    );
                    EventKind::Failed
                }
                Settled::Applied(TaskState::Cancelled) => EventKind::Cancelled,
                Settled::Applied(_) => EventKind::Rescued,
                Settled::Refused | Settled::Unstorable(_) => continue,
            };
            shared.events.tell(|| Event::new(lost.id, lost.name, lost.queue, lost.attempt, kind));
        }
    }
}

fn judge_lost(shared: &Shared, lost: &Lost) -> Settlement {
    let Lost { id, lease, attempt, started, alone, lost_alone, .. } = *lost;
    let outcome = Outcome::Lost { started, alone };
    let history = History { id, attempt, unreadable: 0, lost_alone };
    let verdict = judge(&outcome, &shared.settings.policy_of_unknown(), &history);
    let mut settlement = Settlement::new(id, lease, verdict);
    let why = match (started, alone) {
        (false, _) => {
            "its node died while it held the task; whether the attempt had begun is not known"
                .to_owned()
        }
        (true, false) => "its node died while it ran".to_owned(),
        (true, true) => {
            let nth = ordinal(lost_alone + 1);
            format!("its node died while it ran and nothing else did, for the {nth} time")
        }
    };
    let failure = Failure::new(AttemptEnd::Lost, why);
    let binary = Arc::clone(&shared.settings.binary);
    settlement.attempt =
        Some(AttemptRecord::new(lost.node, binary, AttemptEnd::Lost, Some(&failure)));
    settlement.keep = shared.keep(&lost.name, &lost.queue);
    settlement.ran = lost.ran;
    settlement
}

fn ordinal(n: u32) -> String {
    match n {
        1 => "1st".into(),
        2 => "2nd".into(),
        3 => "3rd".into(),
        n => format!("{n}th"),
    }
}

/// Deletes what is out of its time; returns how long until the next round.
async fn prune(shared: &Shared) -> Duration {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_dead_only_when_its_beats_stood_still_for_a_lease_under_our_eyes() {
        let (lease, start) = (Duration::from_secs(15), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        let node = NodeId::now_v7();
        let beats = |n| [Peer { node, life: Life::Beats(n) }];
        let mut watch = Watch::default();
        assert!(watch.dead(&beats(7), at(0), lease).is_empty());
        assert!(watch.dead(&beats(7), at(15), lease).is_empty());
        assert!(watch.dead(&beats(8), at(16), lease).is_empty(), "it moved");
        assert!(watch.dead(&beats(8), at(31), lease).is_empty());
        assert_eq!(watch.dead(&beats(8), at(32), lease), [node]);
        watch.forget();
        assert!(watch.dead(&beats(8), at(33), lease).is_empty(), "out of touch, seen nothing");
        assert_eq!(watch.dead(&beats(8), at(49), lease), [node]);
        let dead = [Peer { node, life: Life::Dead }];
        assert_eq!(
            Watch::default().dead(&dead, at(0), lease),
            [node],
            "a certain death needs no wait"
        );
    }
}
