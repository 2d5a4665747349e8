//! What is stored is there when the storage is opened again. Where it cannot be, as in memory, nothing is opened again.

use super::subject::{NAME, Subject, keyed, known, seconds, settlement, task, text};
use crate::{
    storage::{
        Cancel, Dispatched, Due, Effect, Enqueued, NewTask, ScheduleChange, ScheduleRow, Settled,
        Settlement, StoredSchedule,
    },
    task::TaskState,
    verdict::Verdict,
};

/// Tasks of all states are as they were.
pub async fn tasks_of_all_states_are_as_they_were(subject: &Subject) {
    let node = subject.node().await;
    let mut stored = Vec::new();
    for verdict in super::subject::verdicts() {
        stored.push(subject.store(task()).await);
        let held = node.take_one().await;
        let output = Some(text("[1]"));
        subject.settle(Settlement { output, ..settlement(&held, verdict) }).await;
        let id = held.id;
        if subject.info(id).await.due <= subject.clock().now() {
            subject.cancel(id).await;
        }
    }
    stored.push(subject.store(NewTask { due: Due::After(seconds(5)), ..keyed("a") }).await);
    stored.push(subject.store(task()).await);
    node.take_one().await;
    let mut before = Vec::new();
    for id in &stored {
        before.push(subject.picture(*id).await);
    }
    subject.reopen().await;
    for (id, before) in stored.iter().zip(before) {
        assert_eq!(subject.picture(*id).await, before);
    }
}

/// Tasks wait as they did: those due are given out, in order; those of the future are not.
pub async fn waiting_tasks_wait_on(subject: &Subject) {
    let later = subject.store(NewTask { due: Due::After(seconds(5)), ..task() }).await;
    let low = subject.store(task()).await;
    let high = subject.store(NewTask { priority: 1, ..task() }).await;
    subject.reopen().await;
    let node = subject.node().await;
    assert_eq!(super::subject::ids(&node.take(10).await), [high, low]);
    subject.advance(5);
    assert_eq!(node.take_one().await.id, later);
}

/// A running task is still fenced: its holder may settle it, others may not.
pub async fn leases_still_fence(subject: &Subject) {
    let id = subject.store(task()).await;
    let node = subject.node().await;
    let stale = node.take_one().await;
    subject.end(&stale, Verdict::Release).await;
    let held = node.take_one().await;
    subject.reopen().await;
    assert_eq!(subject.end(&stale, Verdict::Complete).await, Settled::Refused);
    let settled = subject.end(&held, Verdict::Retry { after: seconds(0) }).await;
    assert_eq!(settled, Settled::Applied(TaskState::Pending));
    subject.reopen().await;
    let again = subject.end(&held, Verdict::Retry { after: seconds(0) }).await;
    assert_eq!(again, Settled::Applied(TaskState::Pending), "a repeated word is known");
    let next = subject.node().await.take_one().await;
    assert_eq!((next.id, next.lease, next.attempt), (id, 3, 2));
}

/// A cancel that was asked for is still asked for.
pub async fn a_cancel_is_still_asked_for(subject: &Subject) {
    let id = subject.store(task()).await;
    let held = subject.node().await.take_one().await;
    assert_eq!(subject.cancel(id).await, Cancel::Asked);
    subject.reopen().await;
    let settled = subject.end(&held, Verdict::Complete).await;
    assert_eq!(settled, Settled::Applied(TaskState::Cancelled));
}

/// A key is still held, and a replacement still known.
pub async fn keys_are_still_held(subject: &Subject) {
    let id = subject.store(keyed("k")).await;
    subject.reopen().await;
    let second = keyed("k");
    let replaced = Enqueued { id, how: Dispatched::Replaced };
    assert_eq!(subject.enqueue(second.clone()).await, replaced);
    let held = subject.node().await.take_one().await;
    subject.end(&held, Verdict::Complete).await;
    subject.reopen().await;
    assert_eq!(subject.enqueue(second).await, replaced);
    assert_eq!(subject.info(id).await.state, TaskState::Completed);
}

/// What a node held can be taken over by another after both were opened again.
pub async fn what_a_node_held_can_be_taken_over(subject: &Subject) {
    let id = subject.store(task()).await;
    let node = subject.node().await;
    let held = node.take_one().await;
    subject.reopen().await;
    let taker = subject.node().await;
    let lost = subject.seize(node.id, taker.id, 10).await.remove(0);
    assert_eq!((lost.id, lost.lease, lost.started), (id, held.lease + 1, true));
    assert_eq!(subject.end(&held, Verdict::Complete).await, Settled::Refused);
}

/// A completion and its effects are there together.
pub async fn effects_are_there_with_their_completion(subject: &Subject) {
    let id = subject.store(task()).await;
    let held = subject.node().await.take_one().await;
    let follow = task();
    let effects = vec![Effect::Enqueue(Box::new(follow.clone()))];
    subject.settle(Settlement { effects, ..settlement(&held, Verdict::Complete) }).await;
    subject.reopen().await;
    assert_eq!(subject.info(id).await.state, TaskState::Completed);
    assert_eq!(subject.info(follow.id).await.state, TaskState::Pending);
}

/// A schedule comes up as it did, from the revision it was at.
pub async fn schedules_come_up_as_they_did(subject: &Subject) {
    let next = subject.clock().now() + seconds(5);
    let row = ScheduleRow { next: Some(next), ..ScheduleRow::new(NAME, "k", text("[1]")) };
    let new = ScheduleChange::to(None, row.clone());
    subject.storage().change_schedules(vec![new.clone()]).await.expect("it is stored");
    subject.reopen().await;
    subject.advance(5);
    let looked = subject.storage().due_schedules(known(&[(NAME, 1)]), 1, 10).await;
    let due = looked.expect("schedules can be read").due;
    assert_eq!(due, [StoredSchedule::new(row, new.revision, None)]);
}
