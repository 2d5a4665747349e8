//! Dead nodes: who sees them, who takes over, what counts.

use super::subject::{QUEUE, Subject, TestNode, ids, keyed, seconds, task};
use crate::{
    storage::{Due, Life, Lost, NewTask, Settled, Settlement},
    task::{TaskId, TaskState},
    verdict::Verdict,
};

/// Loses a task so often that it is a suspect.
async fn make_suspect(subject: &Subject, node: &TestNode<'_>, new: NewTask) -> TaskId {
    let id = subject.store(new).await;
    for _ in 0..2 {
        let held = node.take_one().await;
        subject.end(&held, Verdict::Rescue { started: true, alone: false }).await;
    }
    id
}

/// A node that holds tasks is seen by others while it lives, and told from a dead one.
pub async fn a_node_that_holds_tasks_is_seen_alive(subject: &Subject) {
    subject.stay_open();
    let (node, other) = (subject.node().await, subject.node().await);
    assert_eq!(other.sees(&node).await, None, "who holds nothing is nobody's concern");
    subject.store(task()).await;
    let held = node.take_one().await;
    let before = other.sees(&node).await.expect("a holder is seen");
    assert_ne!(before, Life::Dead);
    if subject.storage().needs_beats() {
        assert_eq!(other.sees(&node).await, Some(before), "looking is no sign of life");
        node.renew(&[]).await;
        let after = other.sees(&node).await.unwrap();
        assert!(matches!(after, Life::Beats(_)) && after != before, "{before:?}, {after:?}");
    }
    subject.end(&held, Verdict::Complete).await;
    assert_eq!(other.sees(&node).await, None);
}

/// Who leaves, or never came, is dead at once, if it holds something.
pub async fn a_node_that_left_is_dead_at_once(subject: &Subject) {
    subject.stay_open();
    let (node, other) = (subject.node().await, subject.node().await);
    subject.store(task()).await;
    node.take_one().await;
    node.leave().await;
    assert_eq!(other.sees(&node).await, Some(Life::Dead));
    assert_eq!(subject.seize(node.id, other.id, 10).await.len(), 1);
    assert_eq!(other.sees(&node).await, None);
}

/// A node that held nothing leaves nothing behind.
pub async fn a_node_may_leave_with_nothing(subject: &Subject) {
    subject.stay_open();
    let (node, other) = (subject.node().await, subject.node().await);
    node.leave().await;
    node.leave().await;
    assert_eq!(other.sees(&node).await, None);
    assert!(subject.seize(node.id, other.id, 10).await.is_empty());
}

/// What is taken over stays running, under a new lease and a new holder, and the taker is told all it needs to judge.
pub async fn a_lost_task_changes_hands(subject: &Subject) {
    let id = subject.store(NewTask { queue: QUEUE.into(), ..task() }).await;
    let (node, taker) = (subject.node().await, subject.node().await);
    subject.end(&node.take_one().await, Verdict::Retry { after: seconds(0) }).await;
    let held = node.take_one().await;
    subject.advance(8);
    let lost = subject.seize(node.id, taker.id, 10).await.remove(0);
    assert_eq!((lost.id, lost.lease, lost.attempt), (id, held.lease + 1, 2));
    assert_eq!((&lost.name, &lost.queue, lost.node), (&held.name, &held.queue, node.id));
    assert!(lost.started && !lost.alone);
    assert_eq!((lost.ran, lost.lost_alone), (seconds(8), 0));
    let info = subject.info(id).await;
    assert_eq!((info.state, info.lease, info.attempt), (TaskState::Running, lost.lease, 2));
    assert_eq!(info.losses, 0, "what it means is not decided here");
    assert!(subject.seize(node.id, taker.id, 10).await.is_empty(), "it is taken once");
    let rescue = Verdict::Rescue { started: true, alone: false };
    subject.settle(Settlement::new(id, lost.lease, rescue)).await;
    let again = subject.node().await.take_one().await;
    assert_eq!((again.id, again.attempt, again.losses), (id, 2, 1));
}

/// A task that was only held ready is told from one that had begun.
pub async fn a_task_lost_before_it_began_is_told_apart(subject: &Subject) {
    subject.store(task()).await;
    subject.store(task()).await;
    let (node, taker) = (subject.node().await, subject.node().await);
    let held = node.claim(node.wish(1).queue(QUEUE, 1, 1)).await.tasks;
    subject.advance(3);
    let lost = subject.seize(node.id, taker.id, 10).await;
    assert_eq!(lost.len(), 2);
    for lost in lost {
        let begun = lost.id == held[0].id;
        let ran = if begun { seconds(3) } else { seconds(0) };
        assert_eq!((lost.started, lost.ran), (begun, ran));
    }
}

/// If the taker dies before it judged, the task is taken from it in turn, and that it was lost is not forgotten; but of nobody
/// that it was alone.
pub async fn a_task_lost_twice_is_one_loss_and_is_told_to_the_last_taker(subject: &Subject) {
    let (node, taker, third) = (subject.node().await, subject.node().await, subject.node().await);
    let id = make_suspect(subject, &node, task()).await;
    let ahead = subject.store(task()).await;
    let lease = node.take_suspect().await.lease;
    node.claim(node.wish(0).queue(QUEUE, 0, 1)).await;
    assert_eq!(subject.seize(node.id, taker.id, 10).await.len(), 2);
    let lost = subject.seize(taker.id, third.id, 10).await;
    let of = |id| lost.iter().find(|lost| lost.id == id).expect("it is taken from its taker");
    assert_eq!((of(id).lease, of(id).node), (lease + 2, taker.id));
    assert!(of(id).started && !of(id).alone, "{lost:?}");
    assert!(!of(ahead).started, "one that had not begun has not begun by being taken over");
    let rescue = Verdict::Rescue { started: true, alone: false };
    subject.settle(Settlement::new(id, of(id).lease, rescue)).await;
    assert_eq!(subject.info(id).await.losses, 3, "two before, and one of this");
}

/// The answer to a seizure may be lost: so the taker is told again what it holds and has not judged, and nothing else.
pub async fn what_was_taken_over_is_told_again_until_it_is_judged(subject: &Subject) {
    let (node, taker) = (subject.node().await, subject.node().await);
    for _ in 0..3 {
        subject.store(task()).await;
    }
    node.claim(node.wish(1).queue(QUEUE, 1, 1)).await;
    let own = taker.take_one().await;
    let first = subject.seize(node.id, taker.id, 10).await;
    for _ in 0..2 {
        let again = subject.seize(taker.id, taker.id, 10).await;
        let of = |lost: &Lost| (lost.id, lost.lease, lost.name.clone(), lost.attempt, lost.started);
        let (mut again, mut first): (Vec<_>, Vec<_>) =
            (again.iter().map(of).collect(), first.iter().map(of).collect());
        again.sort();
        first.sort();
        assert_eq!(again, first);
    }
    assert_eq!(subject.seize(taker.id, taker.id, 1).await.len(), 1, "it is bounded as well");
    for lost in first {
        let rescue = Verdict::Rescue { started: lost.started, alone: false };
        subject.settle(Settlement::new(lost.id, lost.lease, rescue)).await;
    }
    assert!(subject.seize(taker.id, taker.id, 10).await.is_empty());
    assert_eq!(subject.end(&own, Verdict::Complete).await, Settled::Applied(TaskState::Completed));
}

/// What a node has taken over and not judged does not run there: a suspect that does is alone.
pub async fn a_suspect_is_alone_beside_what_its_node_had_taken_over(subject: &Subject) {
    let (node, taker, third) = (subject.node().await, subject.node().await, subject.node().await);
    let suspect = make_suspect(subject, &node, task()).await;
    let other = subject.store(task()).await;
    assert_eq!(node.take_one().await.id, other);
    taker.take_suspect().await;
    subject.seize(node.id, taker.id, 10).await;
    let lost = subject.seize(taker.id, third.id, 1).await.remove(0);
    assert_eq!((lost.id, lost.alone), (suspect, true), "and it comes first");
}

/// Only what the dead node holds is taken, and at most as much as was asked for.
pub async fn seizing_is_bounded_and_takes_from_one_node(subject: &Subject) {
    for _ in 0..7 {
        subject.store(task()).await;
    }
    let (node, other, taker) = (subject.node().await, subject.node().await, subject.node().await);
    node.take(5).await;
    let kept = other.take(2).await;
    let mut seized = Vec::new();
    for expected in [2, 2, 1, 0] {
        let lost = subject.seize(node.id, taker.id, 2).await;
        assert_eq!(lost.len(), expected);
        seized.extend(lost.into_iter().map(|lost| lost.id));
    }
    assert!(kept.iter().all(|task| !seized.contains(&task.id)));
    for task in kept {
        let done = subject.end(&task, Verdict::Complete).await;
        assert_eq!(done, Settled::Applied(TaskState::Completed));
    }
}

/// Two that take over at once share the tasks; none goes to both.
pub async fn two_that_take_over_at_once_share_the_tasks(subject: &Subject) {
    subject.stay_open();
    subject.try_enqueue((0..100).map(|_| task()).collect()).await.unwrap();
    let node = subject.node().await;
    assert_eq!(node.take(100).await.len(), 100);
    let from = subject.dead(node.id, uuid::Uuid::now_v7()).await;
    let takers: Vec<_> = (0..4)
        .map(|_| {
            let storage = subject.storage();
            tokio::spawn(async move {
                let (by, mut seized) = (uuid::Uuid::now_v7(), Vec::new());
                loop {
                    let lost = storage.seize(from, by, 3).await.unwrap();
                    if lost.is_empty() {
                        return seized;
                    }
                    seized.extend(lost.into_iter().map(|lost| lost.id));
                }
            })
        })
        .collect();
    let mut seized = Vec::new();
    for taker in takers {
        seized.extend(taker.await.unwrap());
    }
    assert_eq!(seized.len(), 100);
    seized.sort_unstable();
    seized.dedup();
    assert_eq!(seized.len(), 100);
}

/// A call may be long on its way: whoever has given a sign of life since it was found dead keeps what it holds.
pub async fn a_node_that_lives_again_is_not_robbed(subject: &Subject) {
    subject.stay_open();
    let (node, taker) = (subject.node().await, subject.node().await);
    subject.store(task()).await;
    let held = node.take_one().await;
    let seen = subject.dead(node.id, taker.id).await;
    assert_eq!(node.renew(&[]).await.len(), 1);
    assert!(subject.seize_from(seen, taker.id, 10).await.is_empty());
    node.leave().await;
    let left = subject.dead(node.id, taker.id).await;
    assert_eq!(left.life, Life::Dead);
    assert_eq!(node.renew(&[]).await.len(), 1);
    assert!(subject.seize_from(left, taker.id, 10).await.is_empty());
    assert_eq!(subject.info(held.id).await.lease, held.lease);
    assert_eq!(subject.seize(node.id, taker.id, 10).await.len(), 1, "it may die in earnest");
}

/// Whoever left since it was found silent is no less dead.
pub async fn a_node_that_left_since_is_dead_as_well(subject: &Subject) {
    subject.stay_open();
    let (node, taker) = (subject.node().await, subject.node().await);
    subject.store(task()).await;
    node.take_one().await;
    let seen = subject.dead(node.id, taker.id).await;
    node.leave().await;
    assert_eq!(subject.seize_from(seen, taker.id, 10).await.len(), 1);
}

/// Of a renewal and a seizure that meet, the one that comes first is known to the other.
pub async fn a_renewal_tells_of_what_is_not_taken(subject: &Subject) {
    subject.stay_open();
    let (node, taker) = (subject.node().await, subject.node().await);
    for round in 0..20 {
        subject.store(task()).await;
        node.take_one().await;
        let seen = subject.dead(node.id, taker.id).await;
        let (storage, by) = (subject.storage(), taker.id);
        let seized = tokio::spawn(async move { storage.seize(seen, by, 10).await.unwrap() });
        let held = node.renew(&[]).await;
        let mut seized = seized.await.unwrap();
        assert_eq!((held.len() + seized.len(), round), (1, round), "{held:?}, {seized:?}");
        if seized.is_empty() {
            seized = subject.seize(node.id, taker.id, 10).await;
        }
        let [lost] = &seized[..] else { panic!("it is lost in the end: {seized:?}") };
        assert_eq!(
            subject.settle(Settlement::new(lost.id, lost.lease, Verdict::Complete)).await,
            Settled::Applied(TaskState::Completed)
        );
    }
}

/// A node that was taken for dead lives again once it says so.
pub async fn a_node_taken_for_dead_lives_again_when_it_renews(subject: &Subject) {
    subject.stay_open();
    let (node, other) = (subject.node().await, subject.node().await);
    if !subject.storage().needs_beats() {
        return;
    }
    other.leave().await;
    other.renew(&[]).await;
    subject.store(task()).await;
    other.take_one().await;
    assert!(matches!(node.sees(&other).await, Some(Life::Beats(_))));
}

/// Suspects are given out only on request.
pub async fn a_suspect_is_given_out_only_on_request(subject: &Subject) {
    let node = subject.node().await;
    let suspect = make_suspect(subject, &node, task()).await;
    let other = subject.store(task()).await;
    let claimed = node.look(10, false).await;
    assert_eq!(ids(&claimed.tasks), [other]);
    assert!(claimed.suspect_due && !claimed.more);
    let held = node.take_suspect().await;
    assert_eq!((held.id, held.losses, held.begun), (suspect, 2, true));
}

/// … one at a time, and nothing beside it.
pub async fn suspects_are_given_out_one_at_a_time(subject: &Subject) {
    let node = subject.node().await;
    let first = make_suspect(subject, &node, task()).await;
    let second = make_suspect(subject, &node, NewTask { priority: 5, ..task() }).await;
    subject.store(task()).await;
    let claim = |slots: usize| {
        let mut claim = node.wish(slots).queue("mail", slots, 5).queue(QUEUE, slots, 5);
        claim.suspect = true;
        claim
    };
    assert!(node.claim(claim(0)).await.tasks.is_empty(), "a suspect is not held ready");
    let claimed = node.claim(claim(10)).await;
    assert_eq!(ids(&claimed.tasks), [second], "by priority, as others");
    assert!(claimed.suspect_due);
    let claimed = node.claim(claim(10)).await;
    assert_eq!(ids(&claimed.tasks), [first]);
    assert!(!claimed.suspect_due);
    let claimed = node.claim(claim(10)).await;
    assert!(claimed.tasks.is_empty() && claimed.more);
}

/// A suspect of the future is waited for, and is due when others would be.
pub async fn a_suspect_waits_for_its_time(subject: &Subject) {
    let node = subject.node().await;
    make_suspect(subject, &node, task()).await;
    subject.end(&node.take_suspect().await, Verdict::Unreadable { after: seconds(20) }).await;
    let claimed = node.look(5, false).await;
    assert!(!claimed.suspect_due);
    assert_eq!(claimed.next_due, Some(seconds(20)));
    assert!(node.look(5, true).await.tasks.is_empty());
    subject.advance(20);
    node.take_suspect().await;
}

/// A suspect was alone if nothing else had begun on the node that died.
pub async fn a_suspect_is_alone_if_nothing_else_had_begun(subject: &Subject) {
    let (node, taker) = (subject.node().await, subject.node().await);
    let suspect = make_suspect(subject, &node, task()).await;
    subject.store(task()).await;
    node.take_suspect().await;
    node.claim(node.wish(0).queue(QUEUE, 0, 1)).await;
    let lost = subject.seize(node.id, taker.id, 10).await;
    assert_eq!(lost.len(), 2);
    for lost in &lost {
        assert_eq!(lost.alone, lost.id == suspect, "what is held ready does nothing");
    }
}

/// A suspect beside others is not alone, however few are taken at a time.
pub async fn a_suspect_beside_others_is_not_alone(subject: &Subject) {
    let (node, taker) = (subject.node().await, subject.node().await);
    let other = subject.store(NewTask { due: Due::After(seconds(1)), ..task() }).await;
    let suspect = make_suspect(subject, &node, task()).await;
    subject.advance(1);
    node.take_suspect().await;
    assert_eq!(node.take_one().await.id, other);
    for _ in 0..2 {
        let lost = subject.seize(node.id, taker.id, 1).await.remove(0);
        assert!(!lost.alone, "{lost:?}");
        assert!(lost.id == other || lost.id == suspect);
    }
}

/// Who is no suspect is never counted as alone.
pub async fn a_task_that_is_no_suspect_is_not_alone(subject: &Subject) {
    let (node, taker) = (subject.node().await, subject.node().await);
    subject.store(keyed("k")).await;
    let held = node.take_one().await;
    subject.end(&held, Verdict::Rescue { started: true, alone: false }).await;
    node.take_one().await;
    assert!(!subject.seize(node.id, taker.id, 10).await[0].alone);
}
