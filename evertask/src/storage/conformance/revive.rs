//! Final → pending again; pending → now.

use super::subject::{NAME, Subject, keyed, seconds, settlement, task, text, verdicts};
use crate::{
    policy::Keep,
    storage::{Dispatched, Due, KeepBy, NewTask, Revive, Settlement},
    task::{TaskId, TaskState},
    verdict::Verdict,
};

/// However it ended, a task can be run again, from its first try.
pub async fn an_ended_task_runs_again_from_its_first_try(subject: &Subject) {
    let node = subject.node().await;
    for verdict in verdicts() {
        let id = subject.store(task()).await;
        subject.end(&node.take_one().await, Verdict::Retry { after: seconds(0) }).await;
        let held = node.take_one().await;
        let output = Some(text("1"));
        subject.settle(Settlement { output, ..settlement(&held, verdict) }).await;
        let ended = subject.info(id).await;
        if !ended.state.is_final() {
            subject.cancel(id).await;
            continue;
        }
        subject.advance(60);
        assert_eq!(subject.revive(id).await, Revive::Revived, "{}", ended.state);
        let info = subject.info(id).await;
        assert_eq!((info.state, info.attempt, info.lease), (TaskState::Pending, 0, held.lease));
        assert_eq!((info.due, info.created), (subject.clock().now(), ended.created));
        assert_eq!((info.finished, info.output, info.error), (None, None, None));
        assert_eq!((info.losses, info.output_error), (0, None));
        assert_eq!(info.attempts, ended.attempts, "what was written down stays");
        let again = node.take_one().await;
        assert_eq!((again.id, again.attempt, again.lease), (id, 1, held.lease + 1));
        subject.end(&again, Verdict::Complete).await;
    }
}

/// What counted against it counts no more.
pub async fn a_revived_task_is_no_suspect(subject: &Subject) {
    let node = subject.node().await;
    let id = subject.store(task()).await;
    for _ in 0..2 {
        let lost = Verdict::Rescue { started: true, alone: true };
        subject.end(&node.take_one().await, lost).await;
    }
    subject.end(&node.take_suspect().await, Verdict::Fail).await;
    assert_eq!(subject.revive(id).await, Revive::Revived);
    let again = node.take_one().await;
    assert_eq!((again.losses, again.lost_alone, again.unreadable), (0, 0, 0));
}

/// A pending task is due now.
pub async fn a_pending_task_is_hastened(subject: &Subject) {
    let id = subject.store(NewTask { due: Due::After(seconds(60)), ..task() }).await;
    assert_eq!(subject.revive(id).await, Revive::Hastened);
    assert_eq!(subject.info(id).await.due, subject.clock().now());
    assert_eq!(subject.node().await.take_one().await.id, id);
}

/// One that has waited for its turn keeps its place; and a retry that was hastened keeps its count.
pub async fn hastening_loses_neither_place_nor_count(subject: &Subject) {
    let id = subject.store(task()).await;
    let since = subject.clock().now();
    subject.advance(60);
    assert_eq!(subject.revive(id).await, Revive::Hastened);
    assert_eq!(subject.info(id).await.due, since);
    let node = subject.node().await;
    subject.end(&node.take_one().await, Verdict::Retry { after: seconds(60) }).await;
    assert_eq!(subject.revive(id).await, Revive::Hastened);
    assert_eq!(node.take_one().await.attempt, 2);
}

/// A running task is left alone.
pub async fn a_running_task_is_not_revived(subject: &Subject) {
    let id = subject.store(task()).await;
    subject.node().await.take_one().await;
    let before = subject.picture(id).await;
    assert_eq!(subject.revive(id).await, Revive::Running);
    assert_eq!(subject.picture(id).await, before);
}

/// An unknown task is said to be unknown.
pub async fn an_unknown_task_is_not_revived(subject: &Subject) {
    assert_eq!(subject.revive(TaskId::new()).await, Revive::Unknown);
}

/// A task whose key another live task holds stays as it is, and that one is named.
pub async fn a_key_held_by_another_task_prevents_revival(subject: &Subject) {
    let node = subject.node().await;
    let old = subject.store(keyed("k")).await;
    subject.end(&node.take_one().await, Verdict::Fail).await;
    let new = subject.store(keyed("k")).await;
    let before = subject.picture(old).await;
    assert_eq!(subject.revive(old).await, Revive::KeyTaken(new), "pending");
    let held = node.take_one().await;
    assert_eq!(subject.revive(old).await, Revive::KeyTaken(new), "running");
    assert_eq!(subject.picture(old).await, before);
    subject.end(&held, Verdict::Complete).await;
    assert_eq!(subject.revive(old).await, Revive::Revived, "free again");
    assert_eq!(subject.revive(new).await, Revive::KeyTaken(old));
}

/// A revived task holds its key again.
pub async fn a_revived_task_holds_its_key(subject: &Subject) {
    let id = subject.store(keyed("k")).await;
    subject.end(&subject.node().await.take_one().await, Verdict::Complete).await;
    subject.revive(id).await;
    let answer = subject.enqueue(keyed("k")).await;
    assert_eq!((answer.id, answer.how), (id, Dispatched::Replaced));
    let elsewhere = NewTask { name: format!("{NAME}.other").into(), ..keyed("k") };
    subject.store(elsewhere).await;
}

/// The time for which an ended task is kept does not run on once it lives again.
pub async fn a_revived_task_is_not_pruned(subject: &Subject) {
    let id = subject.store(task()).await;
    let node = subject.node().await;
    let held = node.take_one().await;
    let keep = KeepBy { completed: Keep::For(seconds(10)), ..KeepBy::default() };
    subject.settle(Settlement { keep, ..settlement(&held, Verdict::Complete) }).await;
    subject.revive(id).await;
    subject.advance(60);
    let pruned = subject.prune(10).await;
    assert_eq!((pruned.deleted, pruned.next), (0, None));
    assert_eq!(node.take_one().await.id, id);
}
