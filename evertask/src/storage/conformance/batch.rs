//! Batches: whole where they must be, item by item where they may.

use super::subject::{NAME, Subject, settlement, task};
use crate::{
    bounds::BATCH_MAX,
    storage::{Effect, NewTask, Settled, Settlement, StorageErrorKind, TaskFilter},
    task::TaskState,
    verdict::Verdict,
};

fn unstorable() -> NewTask {
    NewTask { queue: "\0".into(), ..task() }
}

/// One task that cannot be stored keeps the whole batch from being stored.
pub async fn a_batch_is_stored_whole_or_not_at_all(subject: &Subject) {
    let mut batch: Vec<NewTask> = (0..100).map(|_| task()).collect();
    batch.insert(57, unstorable());
    let error = subject.try_enqueue(batch.clone()).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Rejected);
    assert!(subject.list(TaskFilter::default()).await.is_empty());
    batch.remove(57);
    assert_eq!(subject.try_enqueue(batch).await.unwrap().len(), 100);
    assert_eq!(subject.list(TaskFilter::default()).await.len(), 100);
}

/// The largest batch is stored; a larger one is refused before anything happens.
pub async fn the_largest_batch_is_stored_and_no_larger_one(subject: &Subject) {
    let mut batch: Vec<NewTask> = (0..=BATCH_MAX).map(|_| task()).collect();
    let error = subject.try_enqueue(batch.clone()).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Rejected);
    assert!(subject.list(TaskFilter::default()).await.is_empty());
    batch.pop();
    assert_eq!(subject.try_enqueue(batch).await.unwrap().len(), BATCH_MAX);
    let counts = subject.storage().counts().await.unwrap();
    assert_eq!(counts.iter().map(|count| count.tasks).sum::<u64>(), BATCH_MAX as u64);
}

/// Among a hundred enqueues at once, which a storage may well put into one commit, a bad one fails alone.
pub async fn one_bad_enqueue_among_a_hundred_at_once_fails_alone(subject: &Subject) {
    subject.stay_open();
    let enqueues: Vec<_> = (0..100)
        .map(|n| {
            let storage = subject.storage();
            let task = if n == 57 { unstorable() } else { task() };
            tokio::spawn(async move { storage.enqueue(vec![task]).await.map(|_| ()) })
        })
        .collect();
    for (n, enqueue) in enqueues.into_iter().enumerate() {
        assert_eq!(enqueue.await.unwrap().is_err(), n == 57, "enqueue {n}");
    }
    assert_eq!(subject.list(TaskFilter::default()).await.len(), 99);
}

/// Among a hundred settlements one that cannot be stored is told so, and changes nothing; the others are stored.
pub async fn one_unstorable_settlement_among_a_hundred_is_told_so(subject: &Subject) {
    subject.try_enqueue((0..100).map(|_| task()).collect()).await.unwrap();
    let node = subject.node().await;
    let held = node.take(100).await;
    let bad = held[57].id;
    let before = subject.picture(bad).await;
    let (fine, poor) = (task(), unstorable());
    let batch = held.iter().map(|task| {
        let mut sent = settlement(task, Verdict::Complete);
        if task.id == bad {
            let effects = [fine.clone(), poor.clone()];
            sent.effects = effects.map(|task| Effect::Enqueue(Box::new(task))).into();
        }
        sent
    });
    let settled = subject.settle_all(batch.collect()).await;
    for (task, settled) in held.iter().zip(&settled) {
        match settled {
            Settled::Unstorable(why) => {
                assert_eq!(task.id, bad);
                assert!(why.contains(&poor.id.to_string()) && why.contains("queue"), "{why}");
            }
            settled => {
                assert_eq!(*settled, Settled::Applied(TaskState::Completed));
                assert_ne!(task.id, bad);
            }
        }
    }
    assert_eq!(subject.picture(bad).await, before, "nothing of it was stored");
    assert!(subject.find(fine.id).await.is_none());
    let without = settlement(&held[57], Verdict::Complete);
    assert_eq!(subject.settle(without).await, Settled::Applied(TaskState::Completed));
}

/// The answers to a batch of settlements come in its order, each by itself.
pub async fn settlements_are_answered_in_their_order(subject: &Subject) {
    let stored = [task(), task(), task(), task()];
    subject.try_enqueue(stored.to_vec()).await.unwrap();
    let node = subject.node().await;
    let held = node.take(10).await;
    let batch = vec![
        settlement(&held[3], Verdict::Fail),
        Settlement::new(held[1].id, 99, Verdict::Complete),
        settlement(&held[0], Verdict::Complete),
        settlement(&held[2], Verdict::Release),
    ];
    let expected = [
        Settled::Applied(TaskState::Failed),
        Settled::Refused,
        Settled::Applied(TaskState::Completed),
        Settled::Applied(TaskState::Pending),
    ];
    assert_eq!(subject.settle_all(batch).await, expected);
    assert!(subject.settle_all(Vec::new()).await.is_empty());
    let running = TaskFilter {
        name: Some(NAME.to_owned()),
        state: Some(TaskState::Running),
        ..TaskFilter::default()
    };
    assert_eq!(subject.list(running).await, [held[1].id]);
}
