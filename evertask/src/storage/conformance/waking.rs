//! What rings after a change. A hint, on which nothing depends but how soon it is seen.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};

use super::subject::{NAME, QUEUE, Subject, keyed, seconds, settlement, task, text, verdicts};
use crate::{
    policy::Keep,
    storage::{Claim, Due, KeepBy, NewTask, ScheduleChange, ScheduleRow, Settled, Settlement},
    task::TaskId,
    verdict::Verdict,
};

/// How long a law listens before it says that nothing rang. Longer than any commit takes.
const PATIENCE: Duration = Duration::from_secs(10);

async fn rings<T>(heard: &mut watch::Receiver<T>, after: &str) {
    let rung = timeout(PATIENCE, heard.changed()).await;
    assert!(matches!(rung, Ok(Ok(()))), "it rings after {after}");
    heard.mark_unchanged();
}

/// A task that is due now rings for those who look for work; so does one that is pending again.
pub async fn a_due_task_rings_for_work(subject: &Subject) {
    subject.stay_open();
    let node = subject.node().await;
    let mut heard = subject.storage().bell().listen_work();
    let id = subject.store(task()).await;
    rings(&mut heard, "an enqueue").await;
    for verdict in [
        Verdict::Release,
        Verdict::Interrupt,
        Verdict::Retry { after: seconds(0) },
        Verdict::Rescue { started: true, alone: false },
    ] {
        let held = node.take_one().await;
        heard.mark_unchanged();
        subject.end(&held, verdict.clone()).await;
        rings(&mut heard, &format!("{verdict:?}")).await;
    }
    subject.end(&node.take_one().await, Verdict::Fail).await;
    heard.mark_unchanged();
    subject.revive(id).await;
    rings(&mut heard, "a revival").await;
}

/// A task of the future announces when it will be due; the soonest counts.
pub async fn a_task_of_the_future_is_announced(subject: &Subject) {
    subject.stay_open();
    let mut heard = subject.storage().bell().listen_work();
    for after in [600, 300] {
        subject.store(NewTask { due: Due::After(seconds(after)), ..task() }).await;
        rings(&mut heard, "an enqueue").await;
        let soonest = heard.borrow().soonest.expect("it is announced");
        let due_in = soonest.saturating_duration_since(tokio::time::Instant::now());
        assert!(due_in <= seconds(after) && due_in > seconds(after - 100), "{due_in:?}");
    }
    let id = subject.store(NewTask { due: Due::After(seconds(900)), ..task() }).await;
    heard.mark_unchanged();
    let rung = heard.borrow().rung;
    subject.revive(id).await;
    rings(&mut heard, "a task was hastened").await;
    assert!(heard.borrow().rung > rung, "it is due now");
}

/// A cancel of a running task rings for its node.
pub async fn a_cancel_rings_for_the_node_that_runs_the_task(subject: &Subject) {
    subject.stay_open();
    let id = subject.store(task()).await;
    subject.node().await.take_one().await;
    let mut heard = subject.storage().bell().listen_orders();
    subject.cancel(id).await;
    rings(&mut heard, "a cancel").await;
}

/// However a task ends, those who wait for it hear of it.
pub async fn every_end_rings_for_those_who_wait(subject: &Subject) {
    subject.stay_open();
    let node = subject.node().await;
    let storage = subject.storage();
    let listen = |id: TaskId| storage.bell().listen_ended(id);
    for verdict in [Verdict::Complete, Verdict::Fail, Verdict::Cancel { reason: "no".to_owned() }] {
        let id = subject.store(task()).await;
        let ended = listen(id);
        subject.end(&node.take_one().await, verdict.clone()).await;
        let rung = timeout(PATIENCE, ended).await;
        assert!(matches!(rung, Ok(())), "{verdict:?}");
    }
    let expiring = || NewTask { expires: Some(seconds(1)), ..task() };
    let by_cancel = subject.store(task()).await;
    let ended = listen(by_cancel);
    subject.storage().cancel(by_cancel, Keep::No).await.unwrap();
    assert!(matches!(timeout(PATIENCE, ended).await, Ok(())), "a cancel");

    for by_claim in [true, false] {
        let ended = listen(subject.store(expiring()).await);
        subject.advance(1);
        if by_claim {
            let claim = Claim { keep_expired: Keep::No, ..node.wish(1).queue(QUEUE, 1, 0) };
            node.claim(claim).await;
        } else {
            subject.prune(10).await;
        }
        assert!(matches!(timeout(PATIENCE, ended).await, Ok(())), "expired");
    }
}

/// A node that leaves rings for those who may take over what it holds.
pub async fn a_node_that_leaves_rings_for_its_peers(subject: &Subject) {
    subject.stay_open();
    subject.store(task()).await;
    let node = subject.node().await;
    node.take_one().await;
    let mut heard = subject.storage().bell().listen_peers();
    node.leave().await;
    rings(&mut heard, "a node left").await;
}

/// A changed schedule rings for those who look for what comes up next.
pub async fn a_changed_schedule_rings(subject: &Subject) {
    subject.stay_open();
    let mut heard = subject.storage().bell().listen_schedules();
    let new = ScheduleChange::to(None, ScheduleRow::new(NAME, "k", text("{}")));
    subject.storage().change_schedules(vec![new]).await.expect("it is stored");
    rings(&mut heard, "a new schedule").await;
    let found = subject.storage().schedule(NAME.to_owned(), "k".to_owned()).await;
    let found = found.expect("it can be read").expect("it is stored");
    let remove = ScheduleChange::remove(&found);
    subject.storage().change_schedules(vec![remove]).await.expect("it is removed");
    rings(&mut heard, "a removal").await;
}

/// The answer to an enqueue may have been lost before anything rang, so whoever asks again is heard as well.
pub async fn a_repeated_enqueue_rings_again(subject: &Subject) {
    subject.stay_open();
    let mut heard = subject.storage().bell().listen_work();
    let tags = [("a".to_owned(), "1".to_owned())].into();
    for (what, given) in [
        ("a task", task()),
        ("a task of the future", NewTask { due: Due::After(seconds(600)), ..task() }),
        ("a task with a tag", NewTask { tags, ..task() }),
        ("a key", keyed("k")),
        ("a replacement", keyed("k")),
    ] {
        let first = subject.enqueue(given.clone()).await;
        heard.mark_unchanged();
        assert_eq!(subject.enqueue(given).await, first);
        rings(&mut heard, &format!("{what} was said again")).await;
    }
}

/// The answer to a settlement may have been lost as well. Said again, it rings as it did: for work where the task is pending, for
/// those who wait where it has ended.
pub async fn a_repeated_settlement_rings_again(subject: &Subject) {
    subject.stay_open();
    let node = subject.node().await;
    let (storage, mut work) = (subject.storage(), subject.storage().bell().listen_work());
    let none = KeepBy { completed: Keep::No, failed: Keep::No, cancelled: Keep::No };
    for keep in [KeepBy::default(), none] {
        for verdict in verdicts() {
            let id = subject.store(task()).await;
            let sent = Settlement { keep, ..settlement(&node.take_one().await, verdict.clone()) };
            let first = subject.settle(sent.clone()).await;
            let ended = storage.bell().listen_ended(id);
            work.mark_unchanged();
            subject.settle(sent).await;
            match first {
                Settled::Applied(state) if state.is_final() => {
                    let rung = timeout(PATIENCE, ended).await;
                    assert!(matches!(rung, Ok(())), "{verdict:?} was said again");
                }
                _ => rings(&mut work, &format!("{verdict:?} was said again")).await,
            }
            subject.cancel(id).await;
        }
    }
}
