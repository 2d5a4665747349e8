//! ∅ → pending.

use std::time::{Duration, UNIX_EPOCH};

use super::subject::{NAME, QUEUE, Subject, ids, known, seconds, settlement, task, text};
use crate::{
    bounds::DELAY_MAX,
    storage::{Dispatched, Due, Enqueued, NewTask},
    task::TaskState,
    verdict::Verdict,
};

/// What is stored reads back as it was given, and is handed out as it was given.
pub async fn a_stored_task_reads_back_as_it_was_given(subject: &Subject) {
    let given = NewTask {
        version: 3,
        queue: "mail".into(),
        priority: -7,
        due: Due::After(seconds(60)),
        expires: Some(seconds(3600)),
        key: Some("user:1".to_owned()),
        tags: [("tenant".to_owned(), "acme".to_owned()), ("🦀".to_owned(), "ß".to_owned())].into(),
        retries: Some(4),
        timeout: Some(Some(Duration::from_millis(1_500))),
        tick: Some(UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001)),
        ..NewTask::new("mail.goodbye", text(r#"{"email":"ada@example.com"}"#))
    };
    let now = subject.clock().now();
    let id = subject.store(given.clone()).await;
    let info = subject.info(id).await;
    assert_eq!((info.id, info.name.as_str(), info.version), (id, "mail.goodbye", 3));
    assert_eq!((info.queue.as_str(), info.priority), ("mail", -7));
    assert_eq!((info.state, info.attempt, info.lease), (TaskState::Pending, 0, 0));
    assert_eq!((info.created, info.due), (now, now + seconds(60)));
    assert_eq!(info.expires, Some(now + seconds(3600)));
    assert_eq!((info.started, info.finished), (None, None));
    assert_eq!((info.payload, info.output), (given.payload.clone(), None));
    assert_eq!((info.error, info.output_error), (None, None));
    assert_eq!((info.key, info.tags, info.tick), (given.key, given.tags, given.tick));
    assert!(!info.cancel_asked && info.losses == 0 && info.attempts.is_empty());

    subject.advance(61);
    let node = subject.node().await;
    let mut claim = node.wish(1).queue("mail", 1, 0);
    claim.handlers = known(&[("mail.goodbye", 3)]);
    let claimed = node.claim(claim).await.tasks.remove(0);
    assert_eq!((claimed.id, &*claimed.name, claimed.version), (id, "mail.goodbye", 3));
    assert_eq!((&*claimed.queue, claimed.priority), ("mail", -7));
    assert_eq!((claimed.retries, claimed.timeout), (given.retries, given.timeout));
    assert_eq!((claimed.payload, claimed.waited), (given.payload, seconds(1)));
    assert_eq!(claimed.tick, given.tick);
}

/// A timeout has three values: inherited, none at all, or its own.
pub async fn no_timeout_is_another_thing_than_an_inherited_one(subject: &Subject) {
    let node = subject.node().await;
    for timeout in [None, Some(None), Some(Some(seconds(5)))] {
        subject.store(NewTask { timeout, ..task() }).await;
        let claimed = node.take_one().await;
        assert_eq!(claimed.timeout, timeout);
        assert_eq!(claimed.retries, None);
        subject.end(&claimed, Verdict::Complete).await;
    }
}

/// The reply to an enqueue may be lost; saying it again does not store, change or revive anything.
pub async fn an_enqueue_may_be_repeated(subject: &Subject) {
    let given = task();
    let created = Enqueued { id: given.id, how: Dispatched::Created };
    subject.store(given.clone()).await;
    let before = subject.picture(given.id).await;
    let other = NewTask { priority: 9, ..given.clone() };
    assert_eq!(subject.enqueue(other).await, created, "pending");
    assert_eq!(subject.picture(given.id).await, before, "what is stored is left alone");

    let claimed = subject.node().await.take_one().await;
    assert_eq!(subject.enqueue(given.clone()).await, created, "running");
    assert_eq!(subject.info(given.id).await.state, TaskState::Running);

    subject.end(&claimed, Verdict::Complete).await;
    assert_eq!(subject.enqueue(given.clone()).await, created, "completed");
    assert_eq!(subject.info(given.id).await.state, TaskState::Completed, "it does not run twice");
}

/// A repeated batch, in which some tasks are known and some are not, stores those that are not.
pub async fn a_batch_may_be_repeated_with_more(subject: &Subject) {
    let (a, b) = (task(), task());
    subject.store(a.clone()).await;
    let answers = subject.try_enqueue(vec![b.clone(), a.clone(), b.clone()]).await.unwrap();
    let created = |task: &NewTask| Enqueued { id: task.id, how: Dispatched::Created };
    assert_eq!(answers, [created(&b), created(&a), created(&b)], "in the order of the tasks");
    let taken = subject.node().await.take(10).await;
    assert_eq!(ids(&taken), [a.id, b.id]);
}

/// An empty batch is no error.
pub async fn an_empty_batch_stores_nothing(subject: &Subject) {
    assert_eq!(subject.try_enqueue(Vec::new()).await.unwrap(), []);
}

/// Delays are added to the storage's clock, to the microsecond.
pub async fn a_delay_is_counted_by_the_storages_clock(subject: &Subject) {
    let now = subject.clock().now();
    let delay = Duration::new(90, 123_456_000);
    let id = subject.store(NewTask { due: Due::After(delay), ..task() }).await;
    assert_eq!(subject.info(id).await.due, now + delay);
    let id = subject.store(NewTask { due: Due::At(now + delay), ..task() }).await;
    assert_eq!(subject.info(id).await.due, now + delay);
}

/// An instant that has passed is now: nobody gets ahead of others by a due time in the past.
pub async fn an_instant_that_has_passed_is_now(subject: &Subject) {
    let first = subject.store(task()).await;
    subject.advance(1);
    let now = subject.clock().now();
    for past in [now - seconds(3600), UNIX_EPOCH, UNIX_EPOCH - seconds(86_400)] {
        let id = subject.store(NewTask { due: Due::At(past), ..task() }).await;
        assert_eq!(subject.info(id).await.due, now);
    }
    assert_eq!(ids(&subject.node().await.take(1).await), [first]);
}

/// A hundred years ahead is a due time like any other.
pub async fn a_task_due_in_a_hundred_years_waits_for_them(subject: &Subject) {
    let now = subject.clock().now();
    let id = subject.store(NewTask { due: Due::After(DELAY_MAX), ..task() }).await;
    assert_eq!(subject.info(id).await.due, now + DELAY_MAX);
    let node = subject.node().await;
    let look = node.look(1, false).await;
    assert!(look.tasks.is_empty());
    assert_eq!(look.next_due, Some(DELAY_MAX));
    subject.clock().advance(DELAY_MAX);
    assert_eq!(node.take_one().await.id, id);
}

/// Times at the edge of what can be written overflow nowhere: they are far ahead, or now.
pub async fn times_at_the_edge_do_not_overflow(subject: &Subject) {
    let edge = Duration::from_micros(i64::MAX as u64);
    let far = [Due::After(Duration::MAX), Due::At(UNIX_EPOCH + edge), Due::After(edge)];
    for due in far {
        let id = subject.store(NewTask { due, expires: Some(Duration::MAX), ..task() }).await;
        let info = subject.info(id).await;
        assert!(info.due > subject.clock().now() + DELAY_MAX, "{due:?} became {:?}", info.due);
        assert!(info.expires > Some(subject.clock().now() + DELAY_MAX));
    }
    let node = subject.node().await;
    assert!(node.take(10).await.is_empty());
    let id = subject.store(task()).await;
    let claimed = node.take_one().await;
    let mut late = settlement(&claimed, Verdict::Retry { after: Duration::MAX });
    late.ran = Duration::MAX;
    subject.settle(late).await;
    assert!(subject.info(id).await.due > subject.clock().now() + DELAY_MAX);
}

/// The name of queue and handler are what was given, whatever others are called.
pub async fn tasks_of_other_names_and_queues_do_not_mix(subject: &Subject) {
    let elsewhere = subject.store(NewTask { queue: "mail".into(), ..task() }).await;
    let unknown = subject.store(NewTask { name: "mail.goodbye".into(), ..task() }).await;
    let here = subject.store(task()).await;
    assert_eq!(subject.node().await.take_one().await.id, here);
    for (id, queue, name) in [(elsewhere, "mail", NAME), (unknown, QUEUE, "mail.goodbye")] {
        let info = subject.info(id).await;
        assert_eq!((info.queue.as_str(), info.name.as_str()), (queue, name));
        assert_eq!(info.state, TaskState::Pending);
    }
}
