//! Keys: one live task for each handler name and key.

use super::subject::{NAME, QUEUE, Subject, keyed, known, seconds, task, text, verdicts};
use crate::{
    policy::Keep,
    storage::{Cancel, Dispatched, Due, Enqueued, KeepBy, NewTask, Settlement, TaskFilter},
    task::{TaskId, TaskState},
    verdict::Verdict,
};

fn replaced(id: TaskId) -> Enqueued {
    Enqueued { id, how: Dispatched::Replaced }
}

/// A pending task is replaced in place: everything given anew counts, the id stays.
pub async fn a_pending_task_is_replaced_in_place(subject: &Subject) {
    let created = subject.clock().now();
    let first = NewTask {
        tags: [("a".to_owned(), "1".to_owned())].into(),
        expires: Some(seconds(10)),
        retries: Some(1),
        timeout: Some(None),
        tick: Some(created),
        ..keyed("k")
    };
    let id = subject.store(first).await;
    subject.advance(5);
    let now = subject.clock().now();
    let second = NewTask {
        version: 2,
        queue: "mail".into(),
        priority: 5,
        due: Due::After(seconds(60)),
        tags: [("b".to_owned(), "2".to_owned())].into(),
        payload: text("[2]"),
        ..keyed("k")
    };
    assert_eq!(subject.enqueue(second.clone()).await, replaced(id));
    let info = subject.info(id).await;
    assert_eq!((info.version, info.queue.as_str(), info.priority), (2, "mail", 5));
    assert_eq!((info.due, info.created), (now + seconds(60), created));
    assert_eq!((info.payload, info.tags), (second.payload.clone(), second.tags.clone()));
    assert_eq!((info.expires, info.tick), (None, None), "an option that is not given anew is gone");
    assert!(subject.find(second.id).await.is_none(), "the new id is not stored");

    let node = subject.node().await;
    assert!(node.take(10).await.is_empty(), "nothing is left in the old place");
    subject.advance(60);
    let mut claim = node.wish(1).queue("mail", 1, 0);
    claim.handlers = known(&[(NAME, 2)]);
    let claimed = node.claim(claim).await.tasks.remove(0);
    assert_eq!((claimed.id, claimed.retries, claimed.timeout), (id, None, None));
}

/// Replaced, a task starts from its first try; its lease keeps growing.
pub async fn a_replaced_task_starts_from_its_first_try(subject: &Subject) {
    let node = subject.node().await;
    let id = subject.store(keyed("k")).await;
    for verdict in [
        Verdict::Retry { after: seconds(0) },
        Verdict::Unreadable { after: seconds(0) },
        Verdict::Rescue { started: true, alone: true },
    ] {
        subject.end(&node.take_one().await, verdict).await;
    }
    let before = subject.info(id).await;
    assert_eq!((before.attempt, before.losses), (1, 1));
    assert!(before.error.is_some());

    subject.enqueue(keyed("k")).await;
    let info = subject.info(id).await;
    assert_eq!((info.attempt, info.losses, info.lease), (0, 0, before.lease));
    assert_eq!(info.error, None);
    let claimed = node.take_one().await;
    assert_eq!((claimed.attempt, claimed.lease), (1, before.lease + 1));
    assert_eq!((claimed.unreadable, claimed.losses, claimed.lost_alone), (0, 0, 0));
}

/// A suspect that is replaced is no suspect any more.
pub async fn a_replaced_suspect_is_no_suspect(subject: &Subject) {
    let node = subject.node().await;
    let id = subject.store(keyed("k")).await;
    for _ in 0..2 {
        let claimed = node.take_one().await;
        subject.end(&claimed, Verdict::Rescue { started: true, alone: false }).await;
    }
    assert!(node.take(1).await.is_empty());
    subject.enqueue(keyed("k")).await;
    assert_eq!(node.take_one().await.id, id);
}

/// A running task is left as it is, and the dispatch is told its id.
pub async fn a_running_task_is_kept(subject: &Subject) {
    let id = subject.store(keyed("k")).await;
    let node = subject.node().await;
    let claimed = node.take_one().await;
    let before = subject.picture(id).await;
    let late = keyed("k");
    let late_id = late.id;
    let answer = subject.enqueue(NewTask { payload: text("[2]"), ..late }).await;
    assert_eq!(answer, Enqueued { id, how: Dispatched::Existing });
    assert_eq!(subject.picture(id).await, before);
    assert!(subject.find(late_id).await.is_none());

    subject.end(&claimed, Verdict::Retry { after: seconds(0) }).await;
    assert_eq!(subject.enqueue(keyed("k")).await, replaced(id), "pending again");
}

/// However a task ends, its key is free then.
pub async fn a_key_is_free_once_its_task_has_ended(subject: &Subject) {
    let node = subject.node().await;
    for verdict in verdicts() {
        let id = subject.store(keyed("k")).await;
        let claimed = node.take_one().await;
        subject.end(&claimed, verdict.clone()).await;
        let info = subject.info(id).await;
        if info.state.is_final() {
            assert_eq!(info.key.as_deref(), Some("k"), "still there to be found by");
        } else {
            assert_eq!(subject.enqueue(keyed("k")).await, replaced(id), "after {verdict:?}");
            assert_eq!(subject.cancel(id).await, Cancel::Done);
        }
    }
    subject.store(keyed("k")).await;
    let keep = KeepBy { completed: Keep::No, ..KeepBy::default() };
    let claimed = node.take_one().await;
    let gone = Settlement { keep, ..Settlement::new(claimed.id, claimed.lease, Verdict::Complete) };
    subject.settle(gone).await;
    subject.store(keyed("k")).await;
}

/// The same key under two handler names is two keys.
pub async fn keys_are_told_apart_by_handler(subject: &Subject) {
    let other = NewTask { name: "mail.goodbye".into(), ..keyed("k") };
    let (a, b) = (subject.store(keyed("k")).await, subject.store(other.clone()).await);
    assert_eq!(subject.enqueue(keyed("k")).await, replaced(a));
    assert_eq!(subject.enqueue(NewTask { id: TaskId::new(), ..other }).await, replaced(b));
}

/// A key is the same in whatever queue.
pub async fn keys_are_not_told_apart_by_queue(subject: &Subject) {
    let id = subject.store(keyed("k")).await;
    let moved = NewTask { queue: "mail".into(), ..keyed("k") };
    assert_eq!(subject.enqueue(moved).await, replaced(id));
    assert_eq!(subject.info(id).await.queue, "mail");
}

/// Tasks without keys are never each other's.
pub async fn tasks_without_keys_do_not_meet(subject: &Subject) {
    for _ in 0..3 {
        subject.store(task()).await;
    }
    assert_eq!(subject.node().await.take(10).await.len(), 3);
}

/// Two tasks of one batch with one key: the second replaces the first.
pub async fn in_one_batch_the_later_task_replaces_the_earlier(subject: &Subject) {
    let (a, b, c) = (keyed("k"), keyed("other"), NewTask { payload: text("[2]"), ..keyed("k") });
    let answers = subject.try_enqueue(vec![a.clone(), b.clone(), c.clone()]).await.unwrap();
    let created = |id| Enqueued { id, how: Dispatched::Created };
    assert_eq!(answers, [created(a.id), created(b.id), replaced(a.id)]);
    assert_eq!(subject.info(a.id).await.payload, c.payload);
    assert_eq!(subject.list(TaskFilter::default()).await, [b.id, a.id]);
}

/// Of many dispatches at once one creates the task; the others get its id.
pub async fn of_many_dispatches_at_once_one_creates(subject: &Subject) {
    subject.stay_open();
    let answers: Vec<_> = (0..32)
        .map(|_| {
            let storage = subject.storage();
            tokio::spawn(async move { storage.enqueue(vec![keyed("k")]).await })
        })
        .collect();
    let (mut created, mut told) = (Vec::new(), Vec::new());
    for answer in answers {
        let answer = answer.await.unwrap().expect("no loser of the race sees an error")[0];
        if answer.how == Dispatched::Created {
            created.push(answer.id);
        }
        told.push(answer.id);
    }
    assert_eq!(created.len(), 1, "exactly one created it");
    assert!(told.iter().all(|id| *id == created[0]), "all were told its id");
    assert_eq!(subject.list(TaskFilter::default()).await, created);
}

/// Dispatches and claims at once: the key is never held by two live tasks, and no task is lost.
pub async fn a_key_is_never_held_twice_while_tasks_run(subject: &Subject) {
    subject.stay_open();
    let dispatcher = {
        let storage = subject.storage();
        tokio::spawn(async move {
            for _ in 0..100 {
                storage.enqueue(vec![keyed("k")]).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    };
    let node = subject.node().await;
    loop {
        let stopped = dispatcher.is_finished();
        let tasks = node.take(10).await;
        assert!(tasks.len() <= 1, "two live tasks with one key: {tasks:?}");
        let none = tasks.is_empty();
        for task in tasks {
            subject.end(&task, Verdict::Complete).await;
        }
        if stopped && none {
            break;
        }
        tokio::task::yield_now().await;
    }
    dispatcher.await.unwrap();
    let pending = TaskFilter { state: Some(TaskState::Pending), ..TaskFilter::default() };
    assert!(subject.list(pending).await.is_empty());
}

/// The reply to a replacing dispatch may be lost; saying it again changes nothing.
pub async fn a_replacement_may_be_repeated(subject: &Subject) {
    let id = subject.store(keyed("k")).await;
    let second = NewTask { payload: text("[2]"), due: Due::After(seconds(60)), ..keyed("k") };
    assert_eq!(subject.enqueue(second.clone()).await, replaced(id));
    let before = subject.picture(id).await;
    subject.advance(10);
    assert_eq!(subject.enqueue(second).await, replaced(id));
    assert_eq!(subject.picture(id).await, before, "the delay does not begin anew");
}

/// … nor does it make a second task once the replaced one has run, which would run it twice.
pub async fn a_replacement_repeated_after_the_task_ran_does_not_run_it_again(subject: &Subject) {
    let id = subject.store(keyed("k")).await;
    let second = keyed("k");
    assert_eq!(subject.enqueue(second.clone()).await, replaced(id));
    let node = subject.node().await;
    let claimed = node.take_one().await;
    assert_eq!(subject.enqueue(second.clone()).await, replaced(id), "running");
    subject.end(&claimed, Verdict::Complete).await;
    assert_eq!(subject.enqueue(second.clone()).await, replaced(id), "completed");
    assert_eq!(subject.info(id).await.state, TaskState::Completed);
    assert!(node.take(10).await.is_empty());
    assert_eq!(
        subject.list(TaskFilter { queue: Some(QUEUE.to_owned()), ..TaskFilter::default() }).await,
        [id]
    );
}
