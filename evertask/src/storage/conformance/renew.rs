//! Signs of life, and what a node hears by giving them.

use super::subject::{QUEUE, Subject, settlement, task};
use crate::{
    storage::{ClaimedTask, Claims, Held, Settled},
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

/// A node that says by which claims it has anything hears of all that it holds by these, by claims that were not answered yet and
/// by none. Of what it holds by others it may hear later.
pub async fn a_node_hears_what_it_holds_by_the_claims_it_knows(subject: &Subject) {
    let (node, dead) = (subject.node().await, subject.node().await);
    let mut held = Vec::new();
    for _ in 0..4 {
        subject.store(task()).await;
        subject.store(task()).await;
        held.push(node.take(10).await);
    }
    subject.store(task()).await;
    dead.take_one().await;
    let seized = subject.seize(dead.id, node.id, 10).await.remove(0);
    let [_, known, _, unanswered] = &held[..] else { panic!("four claims") };
    subject.cancel(known[0].id).await;
    let claims = Claims { held: vec![2], answered: 3 };
    let mut told = node.renew_knowing(&[], Some(claims)).await;
    told.retain(|told| ![1, 3].contains(&told.claim));
    let of = |claim| {
        move |task: &ClaimedTask| Held { id: task.id, lease: task.lease, claim, cancel: false }
    };
    let mut expected: Vec<Held> =
        known.iter().map(of(2)).chain(unanswered.iter().map(of(4))).collect();
    expected[0].cancel = true;
    expected.push(Held { id: seized.id, lease: seized.lease, claim: 0, cancel: false });
    expected.sort_by_key(|held| held.id);
    assert_eq!(told, expected);
    assert_eq!(node.renew(&[]).await.len(), 9, "and of all if it says nothing of its claims");
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
