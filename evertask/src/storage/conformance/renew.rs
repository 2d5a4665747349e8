//! Signs of life, and what a node hears by giving them.

use super::subject::{QUEUE, Subject, settlement, task};
use crate::{
    storage::{Held, Settled},
    task::TaskState,
    verdict::Verdict,
};

/// A node hears of all it holds: under which lease, by which claim.
pub async fn a_node_hears_what_it_holds(subject: &Subject) {
    let (node, other) = (subject.node().await, subject.node().await);
    assert_eq!(node.renew(&[]).await, []);
    let mut expected = Vec::new();
    for claim in 1..=2 {
        subject.store(task()).await;
        subject.store(task()).await;
        for held in node.take(10).await {
            expected.push(Held { id: held.id, lease: 1, claim, cancel: false });
        }
    }
    expected.sort_by_key(|held| held.id);
    subject.store(task()).await;
    other.take_one().await;
    assert_eq!(node.renew(&[]).await, expected);
    let done = expected.remove(0);
    subject.settle(crate::storage::Settlement::new(done.id, done.lease, Verdict::Complete)).await;
    assert_eq!(node.renew(&[]).await, expected, "and of nothing it has settled");
}

/// Tasks taken ahead are marked as begun when their node says so.
pub async fn a_task_taken_ahead_is_marked_as_begun(subject: &Subject) {
    let id = subject.store(task()).await;
    let (node, taker) = (subject.node().await, subject.node().await);
    let held = node.claim(node.wish(0).queue(QUEUE, 0, 1)).await.tasks.remove(0);
    subject.advance(5);
    node.renew(&[]).await;
    assert_eq!(subject.info(id).await.started, None);
    node.renew(&[&held]).await;
    let begun = subject.clock().now();
    assert_eq!(subject.info(id).await.started, Some(begun));
    subject.advance(5);
    node.renew(&[&held]).await;
    assert_eq!(subject.info(id).await.started, Some(begun), "once");
    let lost = subject.seize(node.id, taker.id, 10).await;
    assert!(lost[0].started);
}

/// A mark under a lease that is not the current one, or from a node that does not hold the task, is passed over.
pub async fn a_stale_mark_is_passed_over(subject: &Subject) {
    let id = subject.store(task()).await;
    let (node, other) = (subject.node().await, subject.node().await);
    let ahead = |node: &super::subject::TestNode<'_>| node.wish(0).queue(QUEUE, 0, 1);
    let stale = node.claim(ahead(&node)).await.tasks.remove(0);
    subject.end(&stale, Verdict::Release).await;
    node.renew(&[&stale]).await;
    assert_eq!(subject.info(id).await.started, None, "pending");
    let current = other.claim(ahead(&other)).await.tasks.remove(0);
    node.renew(&[&stale, &current]).await;
    other.renew(&[&stale]).await;
    assert_eq!(subject.info(id).await.started, None, "held by another");
    other.renew(&[&stale, &current]).await;
    assert_eq!(subject.info(id).await.started, Some(subject.clock().now()));
}

/// A stalled node whose tasks were taken over hears that it holds nothing, and overwrites nothing.
pub async fn a_stalled_node_hears_that_its_tasks_are_gone(subject: &Subject) {
    let id = subject.store(task()).await;
    let (node, taker) = (subject.node().await, subject.node().await);
    let held = node.take_one().await;
    let lost = subject.seize(node.id, taker.id, 10).await.remove(0);
    assert_eq!(node.renew(&[&held]).await, []);
    let expected = Held { id, lease: lost.lease, claim: 0, cancel: false };
    assert_eq!(taker.renew(&[]).await, [expected], "it is the taker's, by no claim");
    let settled = subject.settle(settlement(&held, Verdict::Complete)).await;
    assert_eq!(settled, Settled::Refused);
    assert_eq!(subject.info(id).await.state, TaskState::Running);
}
