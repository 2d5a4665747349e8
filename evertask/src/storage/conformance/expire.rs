//! Pending and expired → cancelled, never begun.

use super::subject::{NAME, QUEUE, Subject, keyed, seconds, task};
use crate::{
    policy::Keep,
    storage::{Claim, Due, Ended, NewTask, Revive},
    task::{TaskId, TaskState},
    verdict::Verdict,
};

fn expiring(after: u64) -> NewTask {
    NewTask { expires: Some(seconds(after)), ..task() }
}

fn ended(id: TaskId, attempt: u32) -> Ended {
    Ended { id, name: NAME.into(), queue: QUEUE.into(), attempt }
}

async fn assert_expired(subject: &Subject, id: TaskId) {
    let info = subject.info(id).await;
    assert_eq!((info.state, info.error.as_deref()), (TaskState::Cancelled, Some("expired")));
    assert_eq!((info.finished, info.started), (Some(subject.clock().now()), None));
}

/// Within its time it is a task like others.
pub async fn a_task_runs_within_its_time(subject: &Subject) {
    let id = subject.store(expiring(10)).await;
    subject.advance(9);
    let node = subject.node().await;
    let held = node.take_one().await;
    subject.advance(60);
    assert!(subject.prune(10).await.expired.is_empty(), "once begun it may take its time");
    subject.end(&held, Verdict::Complete).await;
    assert_eq!(subject.info(id).await.state, TaskState::Completed);
}

/// An expired task is never given out: the claim that meets it cancels it, and gets the next.
pub async fn a_claim_cancels_what_has_expired(subject: &Subject) {
    let late = subject.store(expiring(10)).await;
    let fresh = subject.store(task()).await;
    subject.advance(10);
    let claimed = subject.node().await.look(1, false).await;
    assert_eq!(claimed.expired, [ended(late, 0)]);
    assert_eq!(claimed.tasks.iter().map(|task| task.id).collect::<Vec<_>>(), [fresh]);
    assert_expired(subject, late).await;
}

/// What a claim cancels is kept as the claim says.
pub async fn a_claim_says_how_long_expired_tasks_are_kept(subject: &Subject) {
    let gone = subject.store(expiring(1)).await;
    let node = subject.node().await;
    subject.advance(1);
    let wish = |keep_expired| Claim { keep_expired, ..node.wish(1).queue(QUEUE, 1, 0) };
    assert_eq!(node.claim(wish(Keep::No)).await.expired, [ended(gone, 0)]);
    assert!(subject.find(gone).await.is_none());
    let soon = subject.store(expiring(1)).await;
    subject.advance(1);
    node.claim(wish(Keep::For(seconds(5)))).await;
    assert_expired(subject, soon).await;
    assert_eq!(subject.prune(10).await.next, Some(seconds(5)));
}

/// Pruning cancels what nobody claims, due or not.
pub async fn pruning_cancels_what_has_expired(subject: &Subject) {
    let due = subject.store(expiring(10)).await;
    let later = subject.store(NewTask { due: Due::After(seconds(60)), ..expiring(20) }).await;
    let unknown = subject.store(NewTask { name: "mail.goodbye".into(), ..expiring(20) }).await;
    assert_eq!(subject.prune(10).await.next, Some(seconds(10)));
    subject.advance(10);
    let pruned = subject.prune(10).await;
    assert_eq!((pruned.expired, pruned.next), (vec![ended(due, 0)], Some(seconds(10))));
    assert_expired(subject, due).await;
    subject.advance(10);
    for _ in 0..2 {
        let pruned = subject.prune(1).await;
        assert_eq!(pruned.expired.len(), 1, "at most as many as asked for");
    }
    assert_expired(subject, later).await;
    assert_expired(subject, unknown).await;
    let pruned = subject.prune(1).await;
    assert!(pruned.expired.is_empty() && pruned.deleted == 0, "they are kept for a while");
    assert!(pruned.next > Some(seconds(3_600)) && pruned.next <= Some(seconds(86_400)));
}

/// A retried task that has expired meanwhile is not begun again, and says what it has spent.
pub async fn a_retry_may_expire(subject: &Subject) {
    let id = subject.store(expiring(10)).await;
    let node = subject.node().await;
    subject.end(&node.take_one().await, Verdict::Retry { after: seconds(60) }).await;
    subject.advance(60);
    let claimed = node.look(1, false).await;
    assert!(claimed.tasks.is_empty());
    assert_eq!(claimed.expired, [ended(id, 1)]);
    assert_eq!(subject.info(id).await.state, TaskState::Cancelled);
}

/// Replaced, a task has the time that its replacement gives it, from then on.
pub async fn a_replaced_task_expires_by_its_replacement(subject: &Subject) {
    let timed = || NewTask { expires: Some(seconds(10)), ..keyed("k") };
    let id = subject.store(timed()).await;
    subject.advance(8);
    subject.enqueue(timed()).await;
    assert_eq!(subject.info(id).await.expires, Some(subject.clock().now() + seconds(10)));
    subject.advance(8);
    assert!(subject.prune(10).await.expired.is_empty());
    subject.enqueue(keyed("k")).await;
    subject.advance(60);
    assert!(subject.prune(10).await.expired.is_empty());
    assert_eq!(subject.node().await.take_one().await.id, id);
}

/// Who runs an expired task again wants it run.
pub async fn a_revived_task_does_not_expire_again(subject: &Subject) {
    let id = subject.store(expiring(1)).await;
    subject.advance(1);
    subject.prune(10).await;
    assert_expired(subject, id).await;
    assert_eq!(subject.revive(id).await, Revive::Revived);
    assert_eq!(subject.info(id).await.expires, None);
    assert!(subject.prune(10).await.expired.is_empty());
    assert_eq!(subject.node().await.take_one().await.id, id);
}

/// The key of an expired task is free.
pub async fn an_expired_task_gives_up_its_key(subject: &Subject) {
    let id = subject.store(NewTask { expires: Some(seconds(1)), ..keyed("k") }).await;
    subject.advance(1);
    subject.prune(10).await;
    assert_expired(subject, id).await;
    subject.store(keyed("k")).await;
}

/// However many have expired, a claim that is made again while there are more comes to the one that has not.
pub async fn many_expired_tasks_do_not_hide_a_fresh_one(subject: &Subject) {
    let batch: Vec<NewTask> = (0..2_500).map(|_| expiring(1)).collect();
    subject.try_enqueue(batch).await.unwrap();
    subject.advance(1);
    let fresh = subject.store(task()).await;
    let node = subject.node().await;
    let mut expired = 0;
    for _ in 0..2_501 {
        let claimed = node.look(5, false).await;
        expired += claimed.expired.len();
        if let Some(task) = claimed.tasks.first() {
            assert_eq!((task.id, expired), (fresh, 2_500));
            return;
        }
        assert!(claimed.more, "after {expired} expired ones");
    }
    panic!("the fresh task was never given out");
}
