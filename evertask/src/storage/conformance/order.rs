//! In which order due tasks are given out.

use super::subject::{QUEUE, Subject, ids, seconds, task};
use crate::{
    storage::{Due, NewTask},
    task::TaskId,
    verdict::Verdict,
};

/// Higher priorities go first, however late they came.
pub async fn higher_priorities_go_first(subject: &Subject) {
    let priorities = [0, 5, -3, i16::MAX, i16::MIN];
    let mut stored = Vec::new();
    for priority in priorities {
        stored.push((priority, subject.store(NewTask { priority, ..task() }).await));
        subject.advance(1);
    }
    stored.sort_by_key(|(priority, _)| -i32::from(*priority));
    let expected: Vec<TaskId> = stored.into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids(&subject.node().await.take(10).await), expected);
}

/// Among equals the one that has been due for longest goes first.
pub async fn among_equals_the_longest_due_goes_first(subject: &Subject) {
    let mut stored = Vec::new();
    for after in [30, 10, 20] {
        let due = Due::After(seconds(after));
        stored.push(subject.store(NewTask { due, ..task() }).await);
    }
    subject.advance(60);
    let now = subject.store(task()).await;
    let expected = [stored[1], stored[2], stored[0], now];
    assert_eq!(ids(&subject.node().await.take(10).await), expected);
}

/// Among tasks due at one instant the smaller id goes first, whichever was stored first.
pub async fn at_one_instant_the_smaller_id_goes_first(subject: &Subject) {
    let mut tasks: Vec<NewTask> = (0..50).map(|_| task()).collect();
    let expected: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    tasks.reverse();
    subject.try_enqueue(tasks).await.unwrap();
    assert_eq!(ids(&subject.node().await.take(50).await), expected);
}

/// The order is the same over many claims, and over handlers and versions.
pub async fn order_holds_over_claims_handlers_and_versions(subject: &Subject) {
    let mut stored = Vec::new();
    for n in 0..12_u32 {
        let name = ["a", "b", "c"][n as usize % 3];
        let new = NewTask { name: name.into(), version: 1 + n % 2, ..task() };
        stored.push(subject.store(new).await);
    }
    let node = subject.node().await;
    let mut got = Vec::new();
    for _ in 0..4 {
        let mut claim = node.wish(3).queue(QUEUE, 3, 0);
        claim.handlers = super::subject::known(&[("c", 2), ("a", 2), ("b", 2)]);
        got.extend(ids(&node.claim(claim).await.tasks));
    }
    assert_eq!(got, stored);
}

/// Queues are served in the order of the claim, whatever the priorities in them.
pub async fn queues_are_served_in_the_order_of_the_claim(subject: &Subject) {
    let a = subject.store(NewTask { queue: "a".into(), priority: 100, ..task() }).await;
    let b = subject.store(NewTask { queue: "b".into(), ..task() }).await;
    let node = subject.node().await;
    let both = node.claim(node.wish(1).queue("b", 5, 0).queue("a", 5, 0)).await;
    assert_eq!(ids(&both.tasks), [b]);
    let both = node.claim(node.wish(1).queue("b", 5, 0).queue("a", 5, 0)).await;
    assert_eq!(ids(&both.tasks), [a]);
}

/// A task that was handed back or interrupted is in its old place, before those that came later.
pub async fn an_interrupted_task_keeps_its_place(subject: &Subject) {
    let node = subject.node().await;
    for verdict in [
        Verdict::Release,
        Verdict::Interrupt,
        Verdict::Rescue { started: true, alone: false },
        Verdict::Rescue { started: false, alone: false },
    ] {
        let first = subject.store(task()).await;
        subject.advance(1);
        let held = node.take_one().await;
        let second = subject.store(task()).await;
        subject.advance(1);
        subject.end(&held, verdict).await;
        let got = node.take(10).await;
        assert_eq!(ids(&got), [first, second]);
        for task in got {
            subject.end(&task, Verdict::Complete).await;
        }
    }
}

/// A retried task has a new place, from when it is due again.
pub async fn a_retried_task_gets_a_new_place(subject: &Subject) {
    let node = subject.node().await;
    let first = subject.store(task()).await;
    let held = node.take_one().await;
    let second = subject.store(NewTask { due: Due::After(seconds(5)), ..task() }).await;
    subject.end(&held, Verdict::Retry { after: seconds(10) }).await;
    subject.advance(10);
    assert_eq!(ids(&node.take(10).await), [second, first]);
}
