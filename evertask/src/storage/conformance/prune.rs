//! Final and out of its time → ∅.

use super::subject::{Subject, seconds, settlement, task};
use crate::{
    policy::Keep,
    storage::{Due, KeepBy, NewTask, Settlement, TaskFilter},
    task::TaskId,
    verdict::Verdict,
};

/// Runs a new task to this end.
async fn ended(subject: &Subject, verdict: Verdict, keep: KeepBy) -> TaskId {
    let node = subject.node().await;
    let id = subject.store(task()).await;
    let held = node.take_one().await;
    subject.settle(Settlement { keep, ..settlement(&held, verdict) }).await;
    id
}

/// Each way to end has its own time, counted from the end.
pub async fn a_task_is_kept_for_its_time_after_its_end(subject: &Subject) {
    let keep = KeepBy {
        completed: Keep::For(seconds(10)),
        failed: Keep::For(seconds(20)),
        cancelled: Keep::For(seconds(30)),
    };
    let cancel = Verdict::Cancel { reason: "not wanted".to_owned() };
    let mut left = Vec::new();
    for verdict in [Verdict::Complete, Verdict::Fail, cancel] {
        left.push(ended(subject, verdict, keep).await);
    }
    let pruned = subject.prune(100).await;
    assert_eq!((pruned.deleted, pruned.next), (0, Some(seconds(10))));
    subject.clock().advance(seconds(10) - std::time::Duration::from_micros(1));
    assert_eq!(subject.prune(100).await.deleted, 0);
    subject.clock().advance(std::time::Duration::from_micros(1));
    while !left.is_empty() {
        assert_eq!(subject.prune(100).await.deleted, 1);
        assert!(subject.find(left.remove(0)).await.is_none());
        for id in &left {
            assert!(subject.find(*id).await.is_some());
        }
        subject.advance(10);
    }
    let pruned = subject.prune(100).await;
    assert_eq!((pruned.deleted, pruned.next), (0, None));
}

/// Kept for ever is for ever.
pub async fn a_task_kept_for_ever_stays(subject: &Subject) {
    let id = ended(subject, Verdict::Complete, KeepBy::default()).await;
    subject.clock().advance(crate::bounds::DELAY_MAX);
    let pruned = subject.prune(100).await;
    assert_eq!((pruned.deleted, pruned.next), (0, None));
    assert!(subject.find(id).await.is_some());
}

/// Not kept at all is gone with the write that ends it.
pub async fn a_task_not_kept_is_gone_at_once(subject: &Subject) {
    let keep = KeepBy { completed: Keep::No, ..KeepBy::default() };
    let completed = ended(subject, Verdict::Complete, keep).await;
    let failed = ended(subject, Verdict::Fail, keep).await;
    assert!(subject.find(completed).await.is_none());
    assert!(subject.find(failed).await.is_some(), "what failed is kept as is said for that");
    let retried = ended(subject, Verdict::Retry { after: seconds(60) }, keep).await;
    assert!(subject.find(retried).await.is_some(), "it has not ended");
}

/// Live tasks are never deleted, however old.
pub async fn live_tasks_are_never_pruned(subject: &Subject) {
    let running = subject.store(task()).await;
    let node = subject.node().await;
    let held = node.take_one().await;
    let due = subject.store(task()).await;
    let later = subject.store(NewTask { due: Due::After(seconds(1 << 33)), ..task() }).await;
    subject.advance(1 << 32);
    let pruned = subject.prune(100).await;
    assert_eq!((pruned.deleted, pruned.expired.len(), pruned.next), (0, 0, None));
    let mut stored = subject.list(TaskFilter::default()).await;
    stored.reverse();
    assert_eq!(stored, [running, due, later]);
    subject.end(&held, Verdict::Complete).await;
}

/// One round deletes no more than asked for, oldest first, and says that there is more.
pub async fn pruning_is_bounded(subject: &Subject) {
    let keep = KeepBy { completed: Keep::For(seconds(10)), ..KeepBy::default() };
    let mut stored = Vec::new();
    for _ in 0..5 {
        stored.push(ended(subject, Verdict::Complete, keep).await);
        subject.advance(1);
    }
    subject.advance(60);
    for left in [3, 1] {
        let pruned = subject.prune(2).await;
        assert_eq!((pruned.deleted, pruned.next), (2, Some(seconds(0))));
        let mut found = subject.list(TaskFilter::default()).await;
        found.reverse();
        assert_eq!(found, stored[5 - left..]);
    }
    let pruned = subject.prune(2).await;
    assert_eq!((pruned.deleted, pruned.next), (1, None));
}

/// A pruned task is gone for everyone; its id may be stored again.
pub async fn a_pruned_task_is_gone(subject: &Subject) {
    let keep = KeepBy { completed: Keep::For(seconds(1)), ..KeepBy::default() };
    let id = ended(subject, Verdict::Complete, keep).await;
    subject.advance(1);
    subject.prune(10).await;
    assert_eq!(subject.cancel(id).await, crate::storage::Cancel::Unknown);
    assert_eq!(subject.revive(id).await, crate::storage::Revive::Unknown);
    let again = subject.store(NewTask { id, ..task() }).await;
    assert!(subject.info(again).await.attempts.is_empty(), "nothing of the old one is left");
}
