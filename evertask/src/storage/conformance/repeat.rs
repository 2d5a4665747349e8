//! Settlements whose reply was lost, and which are sent again.

use super::subject::{Subject, settlement, task, verdicts};
use crate::{
    policy::Keep,
    storage::{Cancel, KeepBy, Settled, Settlement, TaskFilter},
    task::TaskState,
    verdict::Verdict,
};

/// Sent twice, a settlement is applied once and answered twice alike.
pub async fn a_settlement_may_be_repeated(subject: &Subject) {
    let node = subject.node().await;
    for verdict in verdicts() {
        let id = subject.store(task()).await;
        let held = node.take_one().await;
        let first = subject.end(&held, verdict.clone()).await;
        let before = subject.picture(id).await;
        subject.advance(1);
        assert!(matches!(first, Settled::Applied(_)), "{verdict:?}");
        assert_eq!(subject.end(&held, verdict.clone()).await, first, "{verdict:?}");
        assert_eq!(subject.picture(id).await, before, "{verdict:?}");
        subject.cancel(id).await;
    }
}

/// Twice in one batch is as good as in two.
pub async fn a_settlement_may_be_repeated_in_one_batch(subject: &Subject) {
    let node = subject.node().await;
    for verdict in verdicts() {
        let id = subject.store(task()).await;
        let held = node.take_one().await;
        let sent = settlement(&held, verdict.clone());
        let settled = subject.settle_all(vec![sent.clone(), sent]).await;
        assert_eq!(settled[0], settled[1], "{verdict:?}");
        assert!(matches!(settled[0], Settled::Applied(_)));
        let info = subject.info(id).await;
        assert!(info.attempts.len() <= 1 && info.attempt <= 1 && info.losses <= 1, "{info:?}");
        subject.cancel(id).await;
    }
}

/// Where the attempt is written down, a repeated settlement is known again after the task has gone on.
pub async fn a_repeated_settlement_is_known_after_the_next_claim(subject: &Subject) {
    let node = subject.node().await;
    for verdict in verdicts() {
        let id = subject.store(task()).await;
        let held = node.take_one().await;
        let sent = settlement(&held, verdict.clone());
        subject.settle(sent.clone()).await;
        subject.advance(30);
        let next = node.take(10).await;
        if next.is_empty() {
            continue;
        }
        let before = subject.picture(id).await;
        let expected = match sent.attempt {
            Some(_) => Settled::Applied(TaskState::Running),
            None => Settled::Refused,
        };
        assert_eq!(subject.settle(sent).await, expected, "{verdict:?}");
        assert_eq!(subject.picture(id).await, before);
        subject.end(&next[0], Verdict::Complete).await;
    }
}

/// A settlement that deleted its task is told, when it is repeated, that the task is gone and as what it would have ended.
pub async fn a_repeated_settlement_that_deleted_its_task_is_told_that_it_is_gone(
    subject: &Subject,
) {
    let node = subject.node().await;
    let keep = KeepBy { completed: Keep::No, failed: Keep::No, cancelled: Keep::No };
    let cancel = Verdict::Cancel { reason: "not wanted".to_owned() };
    for (verdict, state) in [
        (Verdict::Complete, TaskState::Completed),
        (Verdict::Fail, TaskState::Failed),
        (cancel, TaskState::Cancelled),
    ] {
        let id = subject.store(task()).await;
        let held = node.take_one().await;
        let sent = Settlement { keep, ..settlement(&held, verdict) };
        assert_eq!(subject.settle(sent.clone()).await, Settled::Applied(state));
        assert!(subject.find(id).await.is_none());
        assert_eq!(subject.settle(sent.clone()).await, Settled::Gone(state));
        let kept = Settlement { keep: KeepBy::default(), ..sent };
        assert_eq!(subject.settle(kept).await, Settled::Refused, "that one deletes nothing");
    }
    // Where a cancel won, it was that which deleted it.
    let id = subject.store(task()).await;
    let held = node.take_one().await;
    subject.cancel(id).await;
    let keep = KeepBy { cancelled: Keep::No, ..KeepBy::default() };
    let sent = Settlement { keep, ..settlement(&held, Verdict::Complete) };
    assert_eq!(subject.settle(sent.clone()).await, Settled::Applied(TaskState::Cancelled));
    assert_eq!(subject.settle(sent).await, Settled::Gone(TaskState::Cancelled));
    assert!(subject.list(TaskFilter::default()).await.is_empty());
}

/// Who has lost the lease of a task that another one completed and deleted is not told that his word was stored.
pub async fn a_stale_lease_of_a_task_that_was_deleted_is_never_applied(subject: &Subject) {
    let node = subject.node().await;
    let keep = KeepBy { completed: Keep::No, failed: Keep::No, cancelled: Keep::No };
    for verdict in verdicts() {
        let id = subject.store(task()).await;
        let stale = node.take_one().await;
        subject.end(&stale, Verdict::Release).await;
        let current = node.take_one().await;
        let done = Settlement { keep, ..settlement(&current, Verdict::Complete) };
        assert_eq!(subject.settle(done).await, Settled::Applied(TaskState::Completed));
        assert!(subject.find(id).await.is_none());
        let stale = Settlement { keep, ..settlement(&stale, verdict.clone()) };
        let settled = subject.settle(stale).await;
        assert!(matches!(settled, Settled::Gone(_)), "{verdict:?}: {settled:?}");
    }
}

/// Where a cancel won, repeating tells so again.
pub async fn a_repeated_settlement_tells_again_that_a_cancel_won(subject: &Subject) {
    let node = subject.node().await;
    for verdict in verdicts() {
        let id = subject.store(task()).await;
        let held = node.take_one().await;
        assert_eq!(subject.cancel(id).await, Cancel::Asked);
        for _ in 0..2 {
            let settled = subject.end(&held, verdict.clone()).await;
            assert_eq!(settled, Settled::Applied(TaskState::Cancelled), "{verdict:?}");
        }
    }
}
