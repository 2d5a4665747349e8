//! Finds dead nodes and takes over what they held: seize, judge, settle.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    event::EventKind,
    failure::Failure,
    runtime::{Shared, watch::Watch},
    storage::{AttemptRecord, Ended, Lost, NodeId, Settled, Settlement, StorageError},
    task::{AttemptEnd, TaskState},
    verdict::{History, Outcome, judge},
};

/// Looks for dead nodes and takes over what they held.
pub(crate) async fn look_after_peers(shared: &Arc<Shared>, watch: &mut Watch) {
    let asked = Instant::now();
    let peers = match shared.calls.peers.make(shared.storage.peers(shared.node.id)).await {
        Ok(peers) => peers,
        Err(error) => {
            shared.trouble(&shared.calls.peers, &error);
            watch.forget();
            return;
        }
    };
    for node in watch.look(&peers, asked, Instant::now()) {
        if let Err(error) = rescue(shared, node).await {
            shared.trouble(&shared.calls.peers, &error);
        }
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
                Settled::Gone(_) | Settled::Refused | Settled::Unstorable(_) => continue,
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
