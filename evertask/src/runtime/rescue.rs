//! Finds dead nodes and takes over what they held: seize, judge, settle.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    event::EventKind,
    failure::Failure,
    runtime::Shared,
    storage::{AttemptRecord, Ended, Life, Lost, NodeId, Peer, Settled, Settlement, StorageError},
    task::{AttemptEnd, TaskState},
    verdict::{History, Outcome, judge},
};

/// Looks for dead nodes and takes over what they held.
pub(crate) async fn look_after_peers(shared: &Arc<Shared>, watch: &mut Watch) {
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
pub(crate) struct Watch(HashMap<NodeId, (u64, Instant)>);

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
            let why = what_happened(&lost);
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
            let ended =
                Ended { id: lost.id, name: lost.name, queue: lost.queue, attempt: lost.attempt };
            shared.tell_ended(ended, kind, &why);
        }
    }
}

fn judge_lost(shared: &Shared, lost: &Lost) -> Settlement {
    let Lost { id, lease, attempt, started, alone, lost_alone, .. } = *lost;
    let outcome = Outcome::Lost { started, alone };
    let history = History { id, attempt, unreadable: 0, lost_alone };
    let verdict = judge(&outcome, &shared.settings.policy_of_unknown(), &history);
    let mut settlement = Settlement::new(id, lease, verdict);
    let failure = Failure::new(AttemptEnd::Lost, what_happened(lost));
    let binary = Arc::clone(&shared.settings.binary);
    settlement.attempt =
        Some(AttemptRecord::new(lost.node, binary, AttemptEnd::Lost, Some(&failure)));
    settlement.keep = shared.keep(&lost.name, &lost.queue);
    settlement.ran = lost.ran;
    settlement
}

fn what_happened(lost: &Lost) -> String {
    match (lost.started, lost.alone) {
        (false, _) => {
            "its node died while it held the task; whether the attempt had begun is not known"
                .to_owned()
        }
        (true, false) => "its node died while it ran".to_owned(),
        (true, true) => {
            let nth = ordinal(lost.lost_alone + 1);
            format!("its node died while it ran and nothing else did, for the {nth} time")
        }
    }
}

fn ordinal(n: u32) -> String {
    match n {
        1 => "1st".into(),
        2 => "2nd".into(),
        3 => "3rd".into(),
        n => format!("{n}th"),
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
