//! Finds dead nodes and takes over what they held: seize, judge, settle.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{
    chance::jittered,
    event::EventKind,
    failure::Failure,
    runtime::{Shared, patience::Patience, watch::Watch},
    storage::{
        AttemptRecord, Ended, Life, Lost, Peer, Settled, Settlement, StorageError, StorageErrorKind,
    },
    task::{AttemptEnd, TaskState},
    verdict::{History, Outcome, judge},
};

/// How soon to look again after what could not be taken over.
const LOCKED: Duration = Duration::from_millis(250);
/// How soon to look again while out of touch.
const OUT_OF_TOUCH: Duration = Duration::from_millis(500);
/// How many tasks to take over at a time.
const SEIZE_MAX: usize = 1_000;
/// How often to look where nothing rings and a node does not die of being silent.
const SAFETY: Duration = Duration::from_secs(120);

/// The loop.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut peers = shared.storage.bell().listen_peers();
    let every = if shared.storage.needs_beats() { shared.settings.lease / 5 } else { SAFETY };
    let mut watch = Watch::new(shared.settings.lease);
    let mut look_at = Instant::now();
    // All that was taken over is known: no answer to a seizure was lost.
    let mut known = true;
    loop {
        tokio::select! {
            biased;
            () = shared.left.wait() => return,
            rung = peers.changed() => {
                if rung.is_err() {
                    return;
                }
            }
            () = sleep_until(look_at) => {}
        }
        if !known && shared.is_in_touch() {
            known = take_up(&shared).await == Ok(true);
        }
        look_at = if look_after_peers(&shared, &mut watch, &mut known).await {
            // As soon as one may be dead. If that is now, what it holds is locked: by another rescuer, who may have been stopped.
            let soon = Instant::now() + LOCKED;
            let next = watch.next().map(|at| at.max(soon));
            let unknown = (!known).then_some(soon);
            let usual = Instant::now() + jittered(every);
            [next, unknown].into_iter().flatten().fold(usual, Instant::min)
        } else {
            Instant::now() + OUT_OF_TOUCH.min(every)
        };
    }
}

/// Looks for dead nodes and takes over what they held. False if this node is out of touch: then it has seen nobody die.
async fn look_after_peers(shared: &Arc<Shared>, watch: &mut Watch, known: &mut bool) -> bool {
    // What keeps our signs of life from the storage may well keep those of the others.
    if !shared.is_in_touch() {
        watch.forget();
        return false;
    }
    let asked = Instant::now();
    let peers = match shared.calls.peers.make(shared.storage.peers(shared.node.id)).await {
        Ok(peers) => peers,
        Err(error) => {
            shared.trouble(&shared.calls.peers, &error);
            watch.forget();
            return false;
        }
    };
    for peer in watch.look(&peers, asked, Instant::now()) {
        if let Err(error) = rescue(shared, peer).await {
            shared.trouble(&shared.calls.peers, &error);
            *known = false;
        }
    }
    true
}

/// Takes over everything a dead node held and judges it; nothing from one that lives again by then.
async fn rescue(shared: &Arc<Shared>, dead: Peer) -> Result<(), StorageError> {
    let _until_judged = shared.rescuing.lock().await;
    loop {
        let lost =
            shared.calls.peers.make(shared.storage.seize(dead, shared.node.id, SEIZE_MAX)).await?;
        if lost.is_empty() {
            return Ok(());
        }
        tracing::warn!(node = %dead.node, tasks = lost.len(), "a node died; its tasks are pending again");
        // Who leaves meanwhile leaves it to others.
        let Ok(_judged) = settle(shared, lost, Some(Patience::new())).await else { return Ok(()) };
    }
}

/// Judges what this node has taken over and does not know of: an answer was lost that would have told of it. False if there may
/// be more, an error if it has to be tried again.
pub(crate) async fn take_up(shared: &Arc<Shared>) -> Result<bool, ()> {
    // What is being judged at this moment is known.
    let Ok(_until_judged) = shared.rescuing.try_lock() else { return Err(()) };
    let own = Peer::new(shared.node.id, Life::Alive);
    match shared.calls.peers.make(shared.storage.seize(own, own.node, SEIZE_MAX)).await {
        Ok(lost) => {
            let all = lost.len() < SEIZE_MAX;
            // The keeper has others to look after than these, so it waits for no storage.
            let judged = settle(shared, lost, None).await?;
            Ok(all || judged == 0)
        }
        Err(error) => {
            shared.trouble(&shared.calls.peers, &error);
            Err(())
        }
    }
}

/// Judges what was taken over, and tells of it; returns of how many. It is this node's by now and nobody else will, so it is said
/// until it is heard; unless the node leaves, for then somebody takes it over in turn. Without patience it is said once.
///
/// What the storage refuses however it is said stays with this node, and holds up no other: its renewals come back to it.
async fn settle(
    shared: &Arc<Shared>,
    lost: Vec<Lost>,
    mut patience: Option<Patience>,
) -> Result<usize, ()> {
    let (mut waiting, mut judged) = (vec![(lost, false)], 0);
    while let Some((mut some, sent_before)) = waiting.pop() {
        if some.is_empty() {
            continue;
        }
        let settlements = some.iter().map(|lost| judge_lost(shared, lost)).collect();
        let error = match shared.calls.peers.make(shared.storage.settle(settlements)).await {
            Ok(settled) => {
                let settled = settled.into_iter();
                for (lost, settled) in some.into_iter().zip(settled) {
                    let settled = if sent_before { settled.sent_before() } else { settled };
                    judged += usize::from(tell(shared, lost, settled));
                }
                continue;
            }
            Err(error) => error,
        };
        shared.trouble(&shared.calls.peers, &error);
        let sent_before = sent_before || error.kind() != StorageErrorKind::Rejected;
        if error.may_be_of_one_item() {
            // One of them is to blame: halves, until it stands alone.
            if some.len() == 1 {
                stays_here(&some[0], &error.to_string());
            } else {
                let half = some.split_off(some.len() / 2);
                waiting.extend([(half, sent_before), (some, sent_before)]);
            }
            continue;
        }
        waiting.push((some, sent_before));
        let Some(patience) = &mut patience else { return Err(()) };
        tokio::select! {
            biased;
            () = shared.left.wait() => return Err(()),
            () = tokio::time::sleep(patience.wait()) => {}
        }
    }
    Ok(judged)
}

fn stays_here(lost: &Lost, fault: &str) {
    tracing::error!(
        id = %lost.id, name = &*lost.name, fault,
        "what is to become of a task whose node died cannot be stored; it stays with this node, which will try it again"
    );
}

/// Tells what has become of one; true if something has.
fn tell(shared: &Arc<Shared>, lost: Lost, settled: Settled) -> bool {
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
        Settled::Unstorable(fault) => {
            stays_here(&lost, &fault);
            return false;
        }
        Settled::Gone(_) | Settled::Refused => return true,
    };
    let ended = Ended { id: lost.id, name: lost.name, queue: lost.queue, attempt: lost.attempt };
    shared.tell_ended(ended, kind, &why);
    true
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
