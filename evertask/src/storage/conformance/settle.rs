//! Running → what the verdict says.

use super::subject::{
    NAME, QUEUE, Subject, ids, keyed, known, seconds, settlement, task, text, verdicts,
};
use crate::{
    bounds::{ATTEMPTS_KEPT, ERROR_MAX},
    storage::{
        AttemptRecord, Claim, ClaimedTask, Effect, NewTask, Settled, Settlement, TaskFilter,
    },
    task::{AttemptEnd, TaskState},
    verdict::Verdict,
};

/// Ends an attempt on a task that had failed once before, and tells what is stored then.
async fn ended(subject: &Subject, verdict: Verdict) -> (ClaimedTask, crate::task::TaskInfo) {
    let id = subject.store(task()).await;
    let node = subject.node().await;
    subject.end(&node.take_one().await, Verdict::Retry { after: seconds(0) }).await;
    let held = node.take_one().await;
    subject.advance(4);
    let sent = Settlement { ran: seconds(4), ..settlement(&held, verdict.clone()) };
    let expected = match &verdict {
        Verdict::Complete => TaskState::Completed,
        Verdict::Fail => TaskState::Failed,
        Verdict::Cancel { .. } => TaskState::Cancelled,
        _ => TaskState::Pending,
    };
    assert_eq!(subject.settle(sent).await, Settled::Applied(expected), "{verdict:?}");
    let info = subject.info(id).await;
    assert_eq!((info.state, info.lease), (expected, held.lease), "{verdict:?}");
    let finished = expected.is_final().then(|| subject.clock().now());
    assert_eq!(info.finished, finished, "{verdict:?}");
    (held, info)
}

/// Complete: completed, the try counted, nothing said against it any more.
pub async fn complete_completes(subject: &Subject) {
    let (_, info) = ended(subject, Verdict::Complete).await;
    assert_eq!((info.attempt, info.error), (2, None));
    assert_eq!(info.attempts.len(), 1, "a completion is not written down among them");
}

/// Fail: failed, the try counted, the error told.
pub async fn fail_fails(subject: &Subject) {
    let (_, info) = ended(subject, Verdict::Fail).await;
    assert_eq!((info.attempt, info.error.as_deref()), (2, Some("it Failed")));
    assert_eq!(info.attempts.len(), 2);
}

/// Cancel: cancelled, for the reason given.
pub async fn cancel_cancels_for_its_reason(subject: &Subject) {
    let (_, info) = ended(subject, Verdict::Cancel { reason: "not wanted".to_owned() }).await;
    assert_eq!(info.error.as_deref(), Some("not wanted"));
    assert_eq!(info.attempts.last().map(|attempt| attempt.end), Some(AttemptEnd::Cancelled));
}

/// Retry: pending, due after the delay from now, the try spent.
pub async fn retry_waits_and_spends_the_try(subject: &Subject) {
    let (held, info) = ended(subject, Verdict::Retry { after: seconds(30) }).await;
    assert_eq!(info.due, subject.clock().now() + seconds(30));
    assert_eq!((info.attempt, info.error.as_deref()), (2, Some("it Failed")));
    subject.advance(30);
    let next = subject.node().await.take_one().await;
    assert_eq!((next.attempt, next.lease), (3, held.lease + 1));
}

/// Snooze: pending, due after the delay from now, the try not spent.
pub async fn snooze_waits_and_spends_nothing(subject: &Subject) {
    let (held, info) = ended(subject, Verdict::Snooze { after: seconds(30) }).await;
    assert_eq!((info.due, info.attempt), (subject.clock().now() + seconds(30), 1));
    assert_eq!(info.attempts.last().map(|attempt| attempt.end), Some(AttemptEnd::Snoozed));
    subject.advance(30);
    let next = subject.node().await.take_one().await;
    assert_eq!((next.attempt, next.lease), (2, held.lease + 1));
}

/// Release: pending in its old place, as if it had not been claimed, but for the lease.
pub async fn release_counts_nothing(subject: &Subject) {
    let (_, info) = ended(subject, Verdict::Release).await;
    assert_eq!((info.attempt, info.losses, info.attempts.len()), (1, 0, 1));
    assert_eq!(info.due, subject.clock().now() - seconds(4), "its due time is kept");
    assert_eq!(info.error.as_deref(), Some("it Failed"), "what was said before stays");
}

/// Interrupt: pending in its old place, nothing spent, but written down.
pub async fn interrupt_spends_nothing_and_is_written_down(subject: &Subject) {
    let (held, info) = ended(subject, Verdict::Interrupt).await;
    assert_eq!((info.attempt, info.losses), (1, 0));
    assert_eq!(info.due, subject.clock().now() - seconds(4));
    let last = info.attempts.last().unwrap();
    assert_eq!((last.end, last.lease), (AttemptEnd::Interrupted, held.lease));
}

/// Rescue: pending in its old place; a loss is counted if the attempt had begun, and only then.
pub async fn rescue_counts_losses_of_begun_attempts(subject: &Subject) {
    let (_, info) = ended(subject, Verdict::Rescue { started: true, alone: false }).await;
    assert_eq!((info.attempt, info.losses), (1, 1));
    assert_eq!(info.due, subject.clock().now() - seconds(4));
    let held = subject.node().await.take_one().await;
    assert_eq!((held.losses, held.lost_alone), (1, 0));
    subject.end(&held, Verdict::Complete).await;

    let (_, info) = ended(subject, Verdict::Rescue { started: false, alone: false }).await;
    assert_eq!((info.losses, info.attempts.len()), (0, 1));
    assert_eq!(info.due, subject.clock().now() - seconds(4));
}

/// A loss alone counts twice over: as a loss, and as one of those that end in quarantine.
pub async fn rescue_counts_losses_alone_apart(subject: &Subject) {
    let (_, info) = ended(subject, Verdict::Rescue { started: true, alone: true }).await;
    assert_eq!(info.losses, 1);
    let held = subject.node().await.take_one().await;
    assert_eq!((held.losses, held.lost_alone), (1, 1));
}

/// Unreadable: pending after the delay, on a counter of its own.
pub async fn unreadable_has_a_counter_of_its_own(subject: &Subject) {
    let (_, info) = ended(subject, Verdict::Unreadable { after: seconds(60) }).await;
    assert_eq!((info.due, info.attempt), (subject.clock().now() + seconds(60), 1));
    let node = subject.node().await;
    for n in 1..=3 {
        subject.advance(60);
        let held = node.take_one().await;
        assert_eq!((held.unreadable, held.attempt, held.losses), (n, 2, 0));
        subject.end(&held, Verdict::Unreadable { after: seconds(60) }).await;
    }
}

/// An attempt that came to an end by itself clears what counted against the task.
pub async fn a_retry_or_snooze_clears_losses(subject: &Subject) {
    let node = subject.node().await;
    for clearing in [Verdict::Retry { after: seconds(0) }, Verdict::Snooze { after: seconds(0) }] {
        let id = subject.store(task()).await;
        for verdict in [
            Verdict::Rescue { started: true, alone: true },
            Verdict::Unreadable { after: seconds(0) },
        ] {
            subject.end(&node.take_one().await, verdict).await;
        }
        let held = node.take_one().await;
        assert_eq!((held.losses, held.lost_alone, held.unreadable), (1, 1, 1));
        subject.end(&held, clearing).await;
        assert_eq!(subject.info(id).await.losses, 0);
        let held = node.take_one().await;
        assert_eq!((held.losses, held.lost_alone, held.unreadable), (0, 0, 0));
        subject.end(&held, Verdict::Complete).await;
    }
}

/// An interruption or a hand-back shows nothing about a task, so it clears nothing.
pub async fn an_interruption_clears_no_losses(subject: &Subject) {
    let node = subject.node().await;
    let id = subject.store(task()).await;
    subject.end(&node.take_one().await, Verdict::Rescue { started: true, alone: false }).await;
    for verdict in [Verdict::Interrupt, Verdict::Release, Verdict::Unreadable { after: seconds(0) }]
    {
        subject.end(&node.take_one().await, verdict).await;
        assert_eq!(subject.info(id).await.losses, 1);
    }
}

/// The output is stored with the completion, and only with it.
pub async fn the_output_is_stored_with_the_completion(subject: &Subject) {
    let node = subject.node().await;
    for verdict in verdicts() {
        let id = subject.store(task()).await;
        let held = node.take_one().await;
        let output = Some(text("[1,2]"));
        let sent = Settlement { output: output.clone(), ..settlement(&held, verdict.clone()) };
        subject.settle(sent).await;
        let expected = output.filter(|_| verdict == Verdict::Complete);
        assert_eq!(subject.info(id).await.output, expected, "{verdict:?}");
        subject.cancel(id).await;
    }
}

/// A task whose output could not be kept is completed all the same, and says why there is none.
pub async fn an_output_that_was_not_kept_says_why(subject: &Subject) {
    let id = subject.store(task()).await;
    let held = subject.node().await.take_one().await;
    let why = Some("2 MiB; at most 1 MiB fit".to_owned());
    let sent = Settlement { output_error: why.clone(), ..settlement(&held, Verdict::Complete) };
    assert_eq!(subject.settle(sent).await, Settled::Applied(TaskState::Completed));
    let info = subject.info(id).await;
    assert_eq!((info.output, info.output_error), (None, why));
}

/// What is stored about an attempt reads back as it was said.
pub async fn an_attempt_is_written_down_as_it_was_said(subject: &Subject) {
    let id = subject.store(task()).await;
    let node = subject.node().await;
    for (n, end) in AttemptEnd::ALL.into_iter().enumerate() {
        let held = node.take_one().await;
        subject.advance(10);
        let attempt = AttemptRecord {
            error: Some(format!("error {n} ü 🦀")),
            fingerprint: Some(u64::MAX - n as u64),
            ..AttemptRecord::new(node.id, "1.2.3".into(), end, None)
        };
        let verdict = Verdict::Retry { after: seconds(0) };
        let sent = Settlement {
            attempt: Some(attempt.clone()),
            ran: seconds(7),
            ..Settlement::new(held.id, held.lease, verdict)
        };
        subject.settle(sent).await;
        let info = subject.info(id).await;
        assert_eq!(info.attempts.len(), n + 1);
        let written = &info.attempts[n];
        let now = subject.clock().now();
        assert_eq!((written.lease, written.attempt), (held.lease, n as u32 + 1));
        assert_eq!((written.node, written.binary.as_str()), (node.id, "1.2.3"));
        assert_eq!((written.started, written.ended), (now - seconds(7), now));
        assert_eq!(written.end, end);
        assert_eq!((&written.error, written.fingerprint), (&attempt.error, attempt.fingerprint));
        assert_eq!(info.error, attempt.error);
    }
}

/// A task does not grow with every attempt: the last ones are kept.
pub async fn the_last_attempts_are_kept(subject: &Subject) {
    let id = subject.store(task()).await;
    let node = subject.node().await;
    for _ in 0..ATTEMPTS_KEPT + 5 {
        subject.end(&node.take_one().await, Verdict::Retry { after: seconds(0) }).await;
    }
    let info = subject.info(id).await;
    assert_eq!(info.attempt as usize, ATTEMPTS_KEPT + 5);
    let leases: Vec<u64> = info.attempts.iter().map(|attempt| attempt.lease).collect();
    let expected: Vec<u64> = (6..=ATTEMPTS_KEPT as u64 + 5).collect();
    assert_eq!(leases, expected, "oldest first");
}

/// Texts that databases choke on are made storable; they never keep a settlement from being stored.
pub async fn an_error_text_is_made_storable(subject: &Subject) {
    let id = subject.store(task()).await;
    let node = subject.node().await;
    let held = node.take_one().await;
    let mut sent = settlement(&held, Verdict::Retry { after: seconds(0) });
    let long = "a\0ß".repeat(ERROR_MAX);
    sent.attempt.as_mut().unwrap().error = Some(long.clone());
    assert_eq!(subject.settle(sent).await, Settled::Applied(TaskState::Pending));
    let info = subject.info(id).await;
    let stored = info.error.unwrap();
    assert!(stored.starts_with("a\u{FFFD}ßa") && !stored.contains('\0'));
    assert!(stored.len() >= ERROR_MAX / 2 && stored.len() <= 2 * ERROR_MAX, "{}", stored.len());
    assert_eq!(info.attempts[0].error.as_ref(), Some(&stored));

    let held = node.take_one().await;
    subject.end(&held, Verdict::Cancel { reason: "no\0".to_owned() }).await;
    assert_eq!(subject.info(id).await.error.as_deref(), Some("no\u{FFFD}"));
}

/// What completes without having been marked as begun is told when it began all the same.
pub async fn an_unmarked_attempt_began_when_it_says(subject: &Subject) {
    let id = subject.store(task()).await;
    let node = subject.node().await;
    let held = node.claim(node.wish(0).queue(QUEUE, 0, 1)).await.tasks.remove(0);
    assert_eq!((held.begun, subject.info(id).await.started), (false, None));
    subject.advance(60);
    let sent = Settlement { ran: seconds(3), ..settlement(&held, Verdict::Complete) };
    subject.settle(sent).await;
    assert_eq!(subject.info(id).await.started, Some(subject.clock().now() - seconds(3)));
}

fn enqueues(tasks: impl IntoIterator<Item = NewTask>) -> Vec<Effect> {
    tasks.into_iter().map(|task| Effect::Enqueue(Box::new(task))).collect()
}

/// Effects happen in the commit of the completion.
pub async fn effects_happen_with_the_completion(subject: &Subject) {
    subject.store(task()).await;
    let replaced = subject.store(NewTask { name: "mail.goodbye".into(), ..keyed("k") }).await;
    let node = subject.node().await;
    let held = node.take_one().await;
    let follow = task();
    let again = NewTask { name: "mail.goodbye".into(), payload: text("[2]"), ..keyed("k") };
    let effects = enqueues([follow.clone(), again.clone()]);
    let sent = Settlement { effects, ..settlement(&held, Verdict::Complete) };
    assert_eq!(subject.settle(sent.clone()).await, Settled::Applied(TaskState::Completed));
    assert_eq!(subject.info(replaced).await.payload, again.payload, "keys count here too");

    let taken = node.take_one().await;
    assert_eq!(taken.id, follow.id);
    subject.end(&taken, Verdict::Complete).await;
    assert_eq!(subject.settle(sent).await, Settled::Applied(TaskState::Completed));
    assert!(node.take(10).await.is_empty(), "repeated, they do not happen again");
}

/// … and with nothing else.
pub async fn effects_happen_with_nothing_but_the_completion(subject: &Subject) {
    let node = subject.node().await;
    for verdict in verdicts().into_iter().filter(|verdict| *verdict != Verdict::Complete) {
        let id = subject.store(task()).await;
        let held = node.take_one().await;
        let follow = task();
        let effects = enqueues([follow.clone()]);
        subject.settle(Settlement { effects, ..settlement(&held, verdict.clone()) }).await;
        assert!(subject.find(follow.id).await.is_none(), "{verdict:?}");
        subject.cancel(id).await;
    }
}

/// A lease that is not the current one has no effects either.
pub async fn a_refused_settlement_has_no_effects(subject: &Subject) {
    subject.store(task()).await;
    let node = subject.node().await;
    let stale = node.take_one().await;
    subject.end(&stale, Verdict::Release).await;
    node.take_one().await;
    let follow = task();
    let effects = enqueues([follow.clone()]);
    let sent = Settlement { effects, ..settlement(&stale, Verdict::Complete) };
    assert_eq!(subject.settle(sent).await, Settled::Refused);
    assert!(subject.find(follow.id).await.is_none());
}

/// A chain of effects over handlers and queues loses no link.
pub async fn an_effect_may_go_to_any_handler_and_queue(subject: &Subject) {
    subject.store(task()).await;
    let node = subject.node().await;
    let held = node.take_one().await;
    let follow = NewTask { name: "b".into(), queue: "mail".into(), priority: 3, ..task() };
    let effects = enqueues([follow.clone()]);
    subject.settle(Settlement { effects, ..settlement(&held, Verdict::Complete) }).await;
    let claim = node.wish(1).queue("mail", 1, 0);
    let claim = Claim { handlers: known(&[("b", 1), (NAME, 1)]), ..claim };
    let taken = node.claim(claim).await.tasks;
    assert_eq!(ids(&taken), [follow.id]);
    let done = TaskFilter { state: Some(TaskState::Completed), ..TaskFilter::default() };
    assert_eq!(subject.list(done).await, [held.id]);
}

/// A task may lead to the next one of its own key: its key is free by then.
pub async fn an_effect_may_take_the_key_of_the_task_that_completes(subject: &Subject) {
    subject.store(keyed("k")).await;
    let node = subject.node().await;
    let held = node.take_one().await;
    let follow = keyed("k");
    let effects = enqueues([follow.clone()]);
    subject.settle(Settlement { effects, ..settlement(&held, Verdict::Complete) }).await;
    assert_eq!(subject.info(held.id).await.state, TaskState::Completed);
    assert_eq!(node.take_one().await.id, follow.id);
}
