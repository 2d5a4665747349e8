//! Cancel, in each state, and against each verdict.

use super::subject::{Subject, keyed, seconds, settlement, task, text, verdicts};
use crate::{
    policy::Keep,
    storage::{Cancel, Due, Effect, KeepBy, NewTask, Settled, Settlement},
    task::{TaskId, TaskState},
    verdict::Verdict,
};

/// A pending task is cancelled at once, due or not, and never runs.
pub async fn a_pending_task_is_cancelled_at_once(subject: &Subject) {
    let node = subject.node().await;
    let now = subject.store(keyed("a")).await;
    let later = subject.store(NewTask { due: Due::After(seconds(10)), ..keyed("b") }).await;
    for id in [now, later] {
        assert_eq!(subject.cancel(id).await, Cancel::Done);
        let info = subject.info(id).await;
        assert_eq!((info.state, info.error.as_deref()), (TaskState::Cancelled, Some("cancelled")));
        assert_eq!(info.finished, Some(subject.clock().now()));
        assert!(!info.cancel_asked);
    }
    subject.advance(10);
    let claimed = node.look(10, false).await;
    assert!(claimed.tasks.is_empty() && !claimed.more && claimed.next_due.is_none());
}

/// A running task is asked to stop; that it was asked is seen by its node and by people.
pub async fn a_running_task_is_asked_to_stop(subject: &Subject) {
    let id = subject.store(task()).await;
    let node = subject.node().await;
    let held = node.take_one().await;
    assert!(!node.renew(&[]).await[0].cancel);
    for _ in 0..2 {
        assert_eq!(subject.cancel(id).await, Cancel::Asked, "and may be asked again");
    }
    let info = subject.info(id).await;
    assert_eq!((info.state, info.cancel_asked), (TaskState::Running, true));
    assert_eq!((info.finished, info.error), (None, None));
    assert!(node.renew(&[]).await[0].cancel);
    subject.end(&held, Verdict::Complete).await;
    assert!(!subject.info(id).await.cancel_asked);
}

/// A task that has ended is not cancelled any more, and says how it ended.
pub async fn an_ended_task_is_not_cancelled(subject: &Subject) {
    let node = subject.node().await;
    let cancel = Verdict::Cancel { reason: "not wanted".to_owned() };
    for (verdict, state) in [
        (Verdict::Complete, TaskState::Completed),
        (Verdict::Fail, TaskState::Failed),
        (cancel, TaskState::Cancelled),
    ] {
        let id = subject.store(task()).await;
        subject.end(&node.take_one().await, verdict).await;
        let before = subject.picture(id).await;
        subject.advance(1);
        assert_eq!(subject.cancel(id).await, Cancel::TooLate(state));
        assert_eq!(subject.picture(id).await, before);
    }
}

/// An unknown task is said to be unknown.
pub async fn an_unknown_task_is_not_cancelled(subject: &Subject) {
    assert_eq!(subject.cancel(TaskId::new()).await, Cancel::Unknown);
}

/// Once asked for, a cancel wins over every verdict.
pub async fn a_cancel_wins_over_every_verdict(subject: &Subject) {
    let node = subject.node().await;
    for verdict in verdicts() {
        let id = subject.store(task()).await;
        let held = node.take_one().await;
        assert_eq!(subject.cancel(id).await, Cancel::Asked);
        let settled = subject.end(&held, verdict.clone()).await;
        assert_eq!(settled, Settled::Applied(TaskState::Cancelled), "{verdict:?}");
        let info = subject.info(id).await;
        assert_eq!((info.state, info.cancel_asked), (TaskState::Cancelled, false));
        assert_eq!(info.finished, Some(subject.clock().now()), "{verdict:?}");
        let reason = match &verdict {
            Verdict::Cancel { reason } => reason,
            _ => "cancelled while it ran",
        };
        assert_eq!(info.error.as_deref(), Some(reason), "{verdict:?}");
        subject.advance(60);
        assert!(node.take(10).await.is_empty(), "it never runs again, after {verdict:?}");
        assert!(node.look(10, true).await.tasks.is_empty());
    }
}

/// What a cancelled task returned is dropped, and what it would have led to does not happen.
pub async fn a_cancel_drops_output_and_effects(subject: &Subject) {
    let id = subject.store(task()).await;
    let held = subject.node().await.take_one().await;
    subject.cancel(id).await;
    let follow = task();
    let sent = Settlement {
        output: Some(text("1")),
        output_error: Some("too large".to_owned()),
        effects: vec![Effect::Enqueue(Box::new(follow.clone()))],
        ..settlement(&held, Verdict::Complete)
    };
    assert_eq!(subject.settle(sent).await, Settled::Applied(TaskState::Cancelled));
    let info = subject.info(id).await;
    assert_eq!((info.output, info.output_error), (None, None));
    assert!(subject.find(follow.id).await.is_none());
}

/// A cancel outlives the node that was to hear of it.
pub async fn a_cancel_outlives_the_node(subject: &Subject) {
    let id = subject.store(task()).await;
    let (node, taker) = (subject.node().await, subject.node().await);
    node.take_one().await;
    subject.cancel(id).await;
    node.leave().await;
    let lost = subject.seize(node.id, taker.id, 10).await.remove(0);
    assert!(subject.info(id).await.cancel_asked);
    let rescue = Verdict::Rescue { started: lost.started, alone: lost.alone };
    let settled = subject.settle(Settlement::new(id, lost.lease, rescue)).await;
    assert_eq!(settled, Settled::Applied(TaskState::Cancelled));
}

/// How long a cancelled task is kept is what the cancel says, or the settlement.
pub async fn a_cancelled_task_is_kept_as_said(subject: &Subject) {
    let gone = subject.store(task()).await;
    let done = subject.storage().cancel(gone, Keep::No).await.unwrap();
    assert_eq!(done, Cancel::Done);
    assert!(subject.find(gone).await.is_none());

    let soon = subject.store(task()).await;
    subject.storage().cancel(soon, Keep::For(seconds(10))).await.unwrap();
    let ran = subject.store(task()).await;
    let held = subject.node().await.take_one().await;
    subject.storage().cancel(ran, Keep::No).await.unwrap();
    let keep = KeepBy { completed: Keep::No, failed: Keep::No, cancelled: Keep::For(seconds(10)) };
    subject.settle(Settlement { keep, ..settlement(&held, Verdict::Complete) }).await;
    assert_eq!(subject.prune(10).await.deleted, 0);
    subject.advance(10);
    assert_eq!(subject.prune(10).await.deleted, 2);
}

/// Cancel against claim, at once: the task is cancelled before it ran or asked to stop, never both, never neither.
pub async fn a_cancel_meets_a_claim(subject: &Subject) {
    subject.stay_open();
    let node = subject.node().await;
    for _ in 0..50 {
        let id = subject.store(task()).await;
        let storage = subject.storage();
        let cancelling =
            tokio::spawn(async move { storage.cancel(id, Keep::Forever).await.unwrap() });
        let taken = node.take(1).await;
        match cancelling.await.unwrap() {
            Cancel::Done => assert!(taken.is_empty()),
            Cancel::Asked => {
                let settled = subject.end(&taken[0], Verdict::Complete).await;
                assert_eq!(settled, Settled::Applied(TaskState::Cancelled));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(subject.info(id).await.state, TaskState::Cancelled);
    }
}
