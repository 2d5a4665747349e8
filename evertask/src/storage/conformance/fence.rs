//! Leases: whoever does not hold the current one changes nothing.

use super::subject::{Subject, keyed, seconds, settlement, task, verdicts};
use crate::{
    storage::{Revive, Settled, Settlement},
    task::{TaskId, TaskState},
    verdict::Verdict,
};

/// A settlement with an older lease is refused and changes nothing, whatever its verdict.
pub async fn a_stale_lease_is_refused_and_changes_nothing(subject: &Subject) {
    let node = subject.node().await;
    for verdict in verdicts() {
        let id = subject.store(task()).await;
        let stale = node.take_one().await;
        subject.end(&stale, Verdict::Release).await;
        let current = node.take_one().await;
        let before = subject.picture(id).await;
        assert_eq!(subject.end(&stale, verdict.clone()).await, Settled::Refused, "{verdict:?}");
        assert_eq!(subject.picture(id).await, before, "{verdict:?}");
        let done = subject.end(&current, Verdict::Complete).await;
        assert_eq!(done, Settled::Applied(TaskState::Completed));
    }
}

/// A lease that was never given is refused as well.
pub async fn a_lease_that_was_never_given_is_refused(subject: &Subject) {
    let id = subject.store(task()).await;
    for verdict in verdicts() {
        for lease in [1, 7, u64::MAX >> 1] {
            let settled = subject.settle(Settlement::new(id, lease, verdict.clone())).await;
            assert_eq!(settled, Settled::Refused, "pending, {verdict:?}, lease {lease}");
        }
    }
    subject.node().await.take_one().await;
    for verdict in verdicts() {
        for lease in [0, 2, u64::MAX >> 1] {
            let settled = subject.settle(Settlement::new(id, lease, verdict.clone())).await;
            assert_eq!(settled, Settled::Refused, "running, {verdict:?}, lease {lease}");
        }
    }
    assert_eq!(subject.info(id).await.state, TaskState::Running);
}

/// A task that is not stored cannot be settled.
pub async fn a_settlement_of_an_unknown_task_is_refused(subject: &Subject) {
    for verdict in verdicts() {
        let settled = subject.settle(Settlement::new(TaskId::new(), 1, verdict)).await;
        assert_eq!(settled, Settled::Refused);
    }
}

/// A settled task is not settled otherwise by a later word under the same lease.
pub async fn the_first_word_under_a_lease_counts(subject: &Subject) {
    let node = subject.node().await;
    let id = subject.store(task()).await;
    let held = node.take_one().await;
    subject.end(&held, Verdict::Complete).await;
    let before = subject.picture(id).await;
    for verdict in verdicts().into_iter().filter(|verdict| *verdict != Verdict::Complete) {
        assert_eq!(subject.end(&held, verdict.clone()).await, Settled::Refused, "{verdict:?}");
        assert_eq!(subject.picture(id).await, before);
    }
    let id = subject.store(task()).await;
    let held = node.take_one().await;
    subject.end(&held, Verdict::Retry { after: seconds(5) }).await;
    let before = subject.picture(id).await;
    for verdict in [Verdict::Complete, Verdict::Snooze { after: seconds(1) }, Verdict::Interrupt] {
        assert_eq!(subject.end(&held, verdict.clone()).await, Settled::Refused, "{verdict:?}");
        assert_eq!(subject.picture(id).await, before);
    }
}

/// The lease grows with every claim, whatever came between, and never returns to a number that was given before.
pub async fn the_lease_only_grows(subject: &Subject) {
    let node = subject.node().await;
    let id = subject.store(keyed("k")).await;
    let mut lease = 0;
    for verdict in verdicts() {
        let held = if lease > 0 && subject.info(id).await.losses >= 2 {
            node.take_suspect().await
        } else {
            node.take_one().await
        };
        assert_eq!(held.lease, lease + 1, "before {verdict:?}");
        lease = held.lease;
        subject.end(&held, verdict.clone()).await;
        assert_eq!(subject.info(id).await.lease, lease, "after {verdict:?}");
        if subject.info(id).await.state.is_final() {
            assert_eq!(subject.revive(id).await, Revive::Revived);
        }
        subject.advance(30);
    }
    subject.enqueue(keyed("k")).await;
    let held = node.take_one().await;
    assert_eq!(held.lease, lease + 1, "replaced");
    let taker = subject.node().await;
    let lost = subject.seize(node.id, taker.id, 10).await;
    assert_eq!(lost[0].lease, lease + 2, "seized");
}

/// Of many that settle under one lease at once, one word is stored.
pub async fn of_many_words_at_once_one_is_stored(subject: &Subject) {
    subject.stay_open();
    let node = subject.node().await;
    for _ in 0..20 {
        let id = subject.store(task()).await;
        let held = node.take_one().await;
        // Each ends its attempt in a way of its own, else one could be taken for another one repeated.
        let words = [Verdict::Complete, Verdict::Fail, Verdict::Snooze { after: seconds(60) }];
        let settling: Vec<_> = words
            .iter()
            .map(|verdict| {
                let (storage, sent) = (subject.storage(), settlement(&held, verdict.clone()));
                tokio::spawn(async move { storage.settle(vec![sent]).await.unwrap().remove(0) })
            })
            .collect();
        let mut applied = Vec::new();
        for settled in settling {
            if let Settled::Applied(state) = settled.await.unwrap() {
                applied.push(state);
            }
        }
        assert_eq!(applied.len(), 1, "exactly one: {applied:?}");
        assert_eq!(subject.info(id).await.state, applied[0]);
    }
}
