//! Pending, due → running: who gets what.

use std::collections::BTreeSet;

use super::subject::{NAME, QUEUE, Subject, ids, known, seconds, task, verdicts};
use crate::{
    storage::{Claim, Due, NewTask},
    task::TaskState,
    verdict::Verdict,
};

/// Due to the microsecond, and never before.
pub async fn nothing_is_given_out_before_it_is_due(subject: &Subject) {
    let id = subject.store(NewTask { due: Due::After(seconds(10)), ..task() }).await;
    let node = subject.node().await;
    subject.clock().advance(seconds(10) - std::time::Duration::from_micros(1));
    assert!(node.take(10).await.is_empty());
    assert_eq!(subject.info(id).await.state, TaskState::Pending);
    subject.clock().advance(std::time::Duration::from_micros(1));
    assert_eq!(node.take_one().await.id, id);
}

/// A claimed task runs, under a lease one higher, as its next try.
pub async fn a_claimed_task_runs_under_a_new_lease(subject: &Subject) {
    let id = subject.store(task()).await;
    subject.advance(3);
    let claimed = subject.node().await.take_one().await;
    assert_eq!((claimed.id, claimed.lease, claimed.attempt), (id, 1, 1));
    assert!(claimed.begun);
    assert_eq!(claimed.waited, seconds(3));
    let info = subject.info(id).await;
    assert_eq!((info.state, info.lease, info.attempt), (TaskState::Running, 1, 1));
    assert_eq!(info.started, Some(subject.clock().now()));
    assert_eq!((info.finished, info.error), (None, None));
}

/// What one node holds no other gets.
pub async fn a_task_that_is_held_is_not_given_out_again(subject: &Subject) {
    subject.store(task()).await;
    let (a, b) = (subject.node().await, subject.node().await);
    a.take_one().await;
    assert!(b.take(10).await.is_empty());
    assert!(a.take(10).await.is_empty());
}

/// Handlers that are not named in the claim are left to others.
pub async fn only_known_handlers_are_served(subject: &Subject) {
    let other = subject.store(NewTask { name: "mail.goodbye".into(), ..task() }).await;
    let ours = subject.store(task()).await;
    let node = subject.node().await;
    let none = Claim { handlers: known(&[]), ..node.wish(10).queue(QUEUE, 10, 0) };
    assert!(node.claim(none).await.tasks.is_empty());
    assert_eq!(node.take_one().await.id, ours);
    let both = known(&[(NAME, 1), ("mail.goodbye", 1)]);
    let claim = Claim { handlers: both, ..node.wish(10).queue(QUEUE, 10, 0) };
    assert_eq!(ids(&node.claim(claim).await.tasks), [other]);
}

/// A storage may go about it in another way where there are many priorities: what is given out, and said of the rest, is the same.
pub async fn what_is_given_out_does_not_depend_on_how_many_lanes_there_are(subject: &Subject) {
    let many: Vec<i16> = (0..200).map(|n| n * 7 % 200).collect();
    let of = |priority: i16| NewTask { priority, ..task() };
    subject.try_enqueue(many.iter().map(|priority| of(*priority)).collect()).await.unwrap();
    let node = subject.node().await;
    let first = node.look(150, false).await;
    assert!(first.more);
    let rest = node.look(150, false).await;
    assert!(!rest.more && rest.next_due.is_none(), "{rest:?}");
    let taken: Vec<i16> = first.tasks.iter().chain(&rest.tasks).map(|task| task.priority).collect();
    assert_eq!(taken, (0..200).rev().collect::<Vec<i16>>());
    // By now they hold nothing.
    let id = subject.store(of(77)).await;
    subject.store(NewTask { due: Due::After(seconds(10)), ..of(5) }).await;
    let found = node.look(150, false).await;
    assert_eq!((ids(&found.tasks), found.next_due), (vec![id], Some(seconds(10))));
    // A priority that there was not before.
    let new = subject.store(of(1_000)).await;
    assert_eq!(ids(&node.look(150, false).await.tasks), [new]);
    subject.advance(10);
    assert_eq!(node.take_one().await.priority, 5);
}

/// A node reads payloads of its own version and older ones; newer ones wait for a newer node.
pub async fn newer_payload_versions_wait_for_a_newer_node(subject: &Subject) {
    let node = subject.node().await;
    let mut stored = Vec::new();
    for version in [3, 2, 1] {
        stored.push(subject.store(NewTask { version, ..task() }).await);
    }
    let of_version = |version| Claim {
        handlers: known(&[(NAME, version)]),
        ..node.wish(10).queue(QUEUE, 10, 0)
    };
    assert_eq!(ids(&node.claim(of_version(2)).await.tasks), [stored[1], stored[2]]);
    let newer = node.claim(of_version(3)).await.tasks;
    assert_eq!((newer[0].id, newer[0].version), (stored[0], 3));
}

/// A handler that is named twice, as by an alias, counts once, with its newest version.
pub async fn a_handler_named_twice_counts_once(subject: &Subject) {
    let a = subject.store(task()).await;
    let b = subject.store(NewTask { version: 2, ..task() }).await;
    let node = subject.node().await;
    let twice = known(&[(NAME, 2), (NAME, 1)]);
    let claim = Claim { handlers: twice, ..node.wish(10).queue(QUEUE, 10, 0) };
    assert_eq!(ids(&node.claim(claim).await.tasks), [a, b]);
}

/// Queues without room in the claim are not touched.
pub async fn only_queues_with_room_are_served(subject: &Subject) {
    let mail = subject.store(NewTask { queue: "mail".into(), ..task() }).await;
    let other = subject.store(task()).await;
    let node = subject.node().await;
    assert!(node.claim(node.wish(10)).await.tasks.is_empty());
    let claim = node.wish(10).queue(QUEUE, 0, 0).queue("mail", 5, 0);
    let claimed = node.claim(claim).await;
    assert_eq!(ids(&claimed.tasks), [mail]);
    assert!(claimed.more, "in the queue without room");
    assert_eq!(node.take_one().await.id, other);
}

/// Each queue has its own room, and all together have the slots of the node.
pub async fn room_bounds_each_queue_and_slots_bound_all(subject: &Subject) {
    for queue in ["a", "b"] {
        for _ in 0..10 {
            subject.store(NewTask { queue: queue.into(), ..task() }).await;
        }
    }
    let node = subject.node().await;
    let claimed = node.claim(node.wish(5).queue("a", 3, 0).queue("b", 4, 0)).await.tasks;
    let of = |queue| claimed.iter().filter(|task| &*task.queue == queue).count();
    assert_eq!((of("a"), of("b")), (3, 2), "in the order of the claim");
    assert!(claimed.iter().all(|task| task.begun));
    assert!(node.claim(node.wish(0).queue("a", 5, 0)).await.tasks.is_empty(), "no slots");
}

/// Tasks taken ahead are held, but have not begun, and take no slot.
pub async fn tasks_taken_ahead_have_not_begun(subject: &Subject) {
    for queue in ["a", "b"] {
        for _ in 0..10 {
            subject.store(NewTask { queue: queue.into(), ..task() }).await;
        }
    }
    let node = subject.node().await;
    let claimed = node.claim(node.wish(3).queue("a", 2, 2).queue("b", 2, 1)).await.tasks;
    let found: Vec<_> = claimed.iter().map(|task| (&*task.queue, task.begun)).collect();
    let expected =
        [("a", true), ("a", true), ("b", true), ("a", false), ("a", false), ("b", false)];
    assert_eq!(found, expected, "those that begin come first");
    for task in claimed {
        let info = subject.info(task.id).await;
        assert_eq!((info.state, info.lease, info.attempt), (TaskState::Running, 1, 1));
        assert_eq!(info.started.is_some(), task.begun);
    }
}

/// The claim says whether it left due tasks behind.
pub async fn a_claim_tells_whether_more_are_due(subject: &Subject) {
    let node = subject.node().await;
    for _ in 0..3 {
        subject.store(task()).await;
    }
    subject.store(NewTask { name: "mail.goodbye".into(), ..task() }).await;
    subject.store(NewTask { queue: "mail".into(), ..task() }).await;
    let claimed = node.look(2, false).await;
    assert!(claimed.more);
    assert_eq!(claimed.next_due, None);
    assert!(!node.look(1, false).await.more, "others' tasks are nothing to it");
    assert!(!node.look(1, false).await.more);
}

/// The claim says when to look again, for what this node can run.
pub async fn a_claim_tells_when_the_next_task_is_due(subject: &Subject) {
    let node = subject.node().await;
    assert_eq!(node.look(5, false).await.next_due, None, "nothing is stored");
    for (after, name, queue, priority) in [
        (1, "mail.goodbye", QUEUE, 0),
        (2, NAME, "mail", 0),
        (50, NAME, QUEUE, 100),
        (20, NAME, QUEUE, 0),
        (30, NAME, QUEUE, -1),
    ] {
        let due = Due::After(seconds(after));
        let new = NewTask { name: name.into(), queue: queue.into(), priority, due, ..task() };
        subject.store(new).await;
    }
    assert_eq!(node.look(5, false).await.next_due, Some(seconds(20)));
    subject.advance(5);
    let both = node.wish(5).queue(QUEUE, 5, 0).queue("mail", 5, 0);
    let claimed = node.claim(both).await;
    assert_eq!((claimed.tasks.len(), claimed.next_due), (1, Some(seconds(15))));
    subject.advance(15);
    let claimed = node.look(5, false).await;
    assert_eq!((claimed.tasks.len(), claimed.next_due), (1, Some(seconds(10))));
}

/// Many claimers at once: each task goes to one of them, and none is left over.
pub async fn a_claim_never_hands_one_task_to_two_nodes(subject: &Subject) {
    subject.stay_open();
    let tasks: Vec<NewTask> = (0..500).map(|_| task()).collect();
    let stored: BTreeSet<_> = tasks.iter().map(|task| task.id).collect();
    subject.try_enqueue(tasks).await.unwrap();
    let claimers: Vec<_> = (0..8)
        .map(|_| {
            let storage = subject.storage();
            let node = uuid::Uuid::now_v7();
            tokio::spawn(async move {
                let mut got = Vec::new();
                for id in 1.. {
                    let claim = Claim::new(id, node, known(&[(NAME, 1)]), 7).queue(QUEUE, 7, 2);
                    let claimed = storage.claim(claim).await.unwrap();
                    if claimed.tasks.is_empty() && !claimed.more {
                        break;
                    }
                    got.extend(claimed.tasks.iter().map(|task| task.id));
                    tokio::task::yield_now().await;
                }
                got
            })
        })
        .collect();
    let mut got = Vec::new();
    for claimer in claimers {
        got.extend(claimer.await.unwrap());
    }
    assert_eq!(got.len(), 500, "each exactly once");
    assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), stored);
}

/// Enqueue, claim and settle at once, from many threads: each task completes once.
pub async fn tasks_stored_and_run_at_once_all_complete(subject: &Subject) {
    subject.stay_open();
    let producers: Vec<_> = (0..4)
        .map(|_| {
            let storage = subject.storage();
            tokio::spawn(async move {
                for _ in 0..50 {
                    storage.enqueue(vec![task()]).await.unwrap();
                }
            })
        })
        .collect();
    let node = subject.node().await;
    let mut completed = BTreeSet::new();
    while completed.len() < 200 {
        for task in node.take(16).await {
            assert!(completed.insert(task.id), "{} ran twice", task.id);
            subject.end(&task, Verdict::Complete).await;
        }
        tokio::task::yield_now().await;
    }
    for producer in producers {
        producer.await.unwrap();
    }
    assert!(node.take(16).await.is_empty());
}

/// The reply to a claim may be lost; the same claim again gets the same tasks under the same leases, and no others.
pub async fn a_claim_may_be_repeated(subject: &Subject) {
    for _ in 0..6 {
        subject.store(task()).await;
    }
    let node = subject.node().await;
    let claim = node.wish(2).queue(QUEUE, 2, 1);
    let first = node.claim(claim.clone()).await;
    let again = node.claim(claim.clone()).await;
    assert_eq!(first.tasks.len(), 3);
    let told = |claimed: &crate::storage::Claimed| {
        let mut told: Vec<_> = claimed
            .tasks
            .iter()
            .map(|task| (task.id, task.lease, task.attempt, task.begun))
            .collect();
        told.sort_unstable();
        told
    };
    assert_eq!(told(&first), told(&again));
    assert!(again.tasks[0].begun && again.tasks[1].begun, "those that begin come first");
    assert!(again.more);

    subject.end(&first.tasks[0], Verdict::Complete).await;
    let rest = node.claim(claim.clone()).await;
    let mut expected = vec![first.tasks[1].id, first.tasks[2].id];
    expected.sort_unstable();
    let mut rest = ids(&rest.tasks);
    rest.sort_unstable();
    assert_eq!(rest, expected, "without what the node does not hold any more");
    assert_eq!(node.take(10).await.len(), 3, "the next claim gets the rest");
}

/// The same claim id of another node is another claim.
pub async fn claim_ids_belong_to_their_node(subject: &Subject) {
    let (a, b) = (subject.node().await, subject.node().await);
    let first = subject.store(task()).await;
    let second = subject.store(task()).await;
    let one = |node: uuid::Uuid| Claim::new(1, node, known(&[(NAME, 1)]), 1).queue(QUEUE, 1, 0);
    assert_eq!(ids(&a.claim(one(a.id)).await.tasks), [first]);
    assert_eq!(ids(&b.claim(one(b.id)).await.tasks), [second]);
}

/// A task with its second attempt is not given out by the claim that got its first.
pub async fn a_repeated_claim_does_not_get_a_later_attempt(subject: &Subject) {
    let node = subject.node().await;
    let id = subject.store(task()).await;
    let claim = node.wish(5).queue(QUEUE, 5, 0);
    let first = node.claim(claim.clone()).await.tasks.remove(0);
    subject.end(&first, Verdict::Release).await;
    let second = node.take_one().await;
    assert_eq!((second.id, second.lease), (id, 2));
    assert!(node.claim(claim).await.tasks.is_empty());
}

/// What a claim costs does not depend on what else is stored. Asked for where the storage can say what it did.
pub async fn a_claim_costs_the_same_whatever_else_is_stored(subject: &Subject) {
    subject.stay_open();
    let node = subject.node().await;
    let effort = || subject.effort().expect("a subject that is measured");
    let cost = async || {
        subject.try_enqueue((0..10).map(|_| task()).collect()).await.unwrap();
        let before = effort();
        let taken = node.take(10).await;
        let cost = effort() - before;
        assert_eq!(taken.len(), 10);
        let done = taken.iter().map(|task| super::subject::settlement(task, Verdict::Complete));
        subject.settle_all(done.collect()).await;
        cost
    };
    let alone = cost().await;
    let crowd = async |make: &dyn Fn() -> NewTask| {
        subject.try_enqueue((0..5_000).map(|_| make()).collect()).await.unwrap();
    };
    crowd(&task).await;
    loop {
        let taken = node.take(1_000).await;
        if taken.is_empty() {
            break;
        }
        let done = taken.iter().map(|task| super::subject::settlement(task, Verdict::Complete));
        subject.settle_all(done.collect()).await;
    }
    let top = || NewTask { priority: i16::MAX, ..task() };
    crowd(&|| NewTask { due: Due::After(seconds(60)), ..top() }).await;
    crowd(&|| NewTask { name: "mail.goodbye".into(), ..top() }).await;
    crowd(&|| NewTask { queue: "mail".into(), ..top() }).await;
    crowd(&|| NewTask { version: 2, ..top() }).await;
    let crowded = cost().await;
    assert!(crowded <= 3 * alone + 100, "alone {alone}, among others {crowded}");
}

/// Whatever an attempt comes to, the task is not given out again before its time.
pub async fn after_any_verdict_a_task_is_given_out_only_when_due(subject: &Subject) {
    let node = subject.node().await;
    for verdict in verdicts() {
        let id = subject.store(task()).await;
        subject.end(&node.take_one().await, verdict.clone()).await;
        let info = subject.info(id).await;
        let due = info.state == TaskState::Pending && info.due <= subject.clock().now();
        assert_eq!(node.take(10).await.len(), usize::from(due), "after {verdict:?}");
        subject.advance(30);
        let later = info.state == TaskState::Pending && !due;
        assert_eq!(node.take(10).await.len(), usize::from(later), "later, after {verdict:?}");
    }
}
