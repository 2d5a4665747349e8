//! Commits: many requests in one, and only the guilty one is told.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, mpsc},
    task::Poll,
    time::Duration,
};

use tokio::sync::oneshot;

use super::{Place, ask, claim, keyed, number, task};
use crate::{
    failure::Failure,
    storage::{
        AttemptRecord, Dispatched, Due, Inspect, ManualClock, NewTask, NodeId, Settled, Settlement,
        Sqlite, Storage, StorageErrorKind,
    },
    task::{AttemptEnd, TaskState},
    verdict::Verdict,
};

/// Keeps the writer busy with a transaction until the sender is dropped, so that requests gather.
async fn hold_up(sqlite: &Sqlite) -> mpsc::Sender<()> {
    let (release, has_begun) = hold_up_next(sqlite);
    has_begun.await.unwrap_err();
    release
}

/// The same, once its turn comes; the receiver fails when it does.
fn hold_up_next(sqlite: &Sqlite) -> (mpsc::Sender<()>, oneshot::Receiver<()>) {
    let (release, released) = mpsc::channel::<()>();
    let (begun, has_begun) = oneshot::channel();
    let this = sqlite.clone();
    let mut begun = Some(begun);
    tokio::spawn(async move {
        ask(&this, move |_| {
            drop(begun.take());
            let _released = released.recv();
            Ok(())
        })
        .await
    });
    (release, has_begun)
}

async fn until_waiting(sqlite: &Sqlite, requests: usize) {
    // One more: the one that holds the writer up.
    while sqlite.0.writer.waiting() < requests + 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_a_transaction_is_open_shares_its_commit() {
    let place = Place::new();
    let sqlite = place.open().await;
    let release = hold_up(&sqlite).await;
    let before = sqlite.0.writer.commits();
    let enqueues: Vec<_> = (0..64)
        .map(|_| {
            let sqlite = sqlite.clone();
            tokio::spawn(async move { sqlite.enqueue(vec![task("a")]).await })
        })
        .collect();
    until_waiting(&sqlite, 64).await;
    drop(release);
    for enqueue in enqueues {
        enqueue.await.unwrap().unwrap();
    }
    assert_eq!(sqlite.0.writer.commits() - before, 1, "all join the one that was held up");
    assert_eq!(number(&sqlite, "SELECT count(*) FROM evertask_tasks").await, 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_one_commit_what_ends_goes_first_and_claims_go_last() {
    let place = Place::new();
    let sqlite = place.open().await;
    let node = NodeId::from_u128(1);
    sqlite.enqueue(vec![keyed("a", "k")]).await.unwrap();
    let first = claim(&sqlite, node, 1, &["a"], 1).await.remove(0);
    let release = hold_up(&sqlite).await;
    let claiming = tokio::spawn({
        let sqlite = sqlite.clone();
        async move { claim(&sqlite, node, 2, &["a"], 1).await }
    });
    until_waiting(&sqlite, 1).await;
    let storing = tokio::spawn({
        let sqlite = sqlite.clone();
        async move { sqlite.enqueue(vec![keyed("a", "k")]).await }
    });
    until_waiting(&sqlite, 2).await;
    let settling = tokio::spawn({
        let sqlite = sqlite.clone();
        async move {
            sqlite.settle(vec![Settlement::new(first.id, first.lease, Verdict::Complete)]).await
        }
    });
    until_waiting(&sqlite, 3).await;
    drop(release);
    settling.await.unwrap().unwrap();
    // The key was free again, and the claim saw the new task.
    let stored = storing.await.unwrap().unwrap().remove(0);
    assert_eq!(stored.how, Dispatched::Created);
    assert_eq!(claiming.await.unwrap()[0].id, stored.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_sees_what_joins_its_transaction() {
    let place = Place::new();
    let sqlite = place.open().await;
    let release = hold_up(&sqlite).await;
    let claiming = tokio::spawn({
        let sqlite = sqlite.clone();
        async move { claim(&sqlite, NodeId::from_u128(1), 1, &["a"], 1).await }
    });
    until_waiting(&sqlite, 1).await;
    // The claim and this one come together, and then another.
    let (release_next, has_begun) = hold_up_next(&sqlite);
    until_waiting(&sqlite, 2).await;
    drop(release);
    has_begun.await.unwrap_err();
    let task = task("a");
    let id = task.id;
    let storing = tokio::spawn({
        let sqlite = sqlite.clone();
        async move { sqlite.enqueue(vec![task]).await }
    });
    until_waiting(&sqlite, 3).await;
    drop(release_next);
    storing.await.unwrap().unwrap();
    assert_eq!(claiming.await.unwrap()[0].id, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_joins_a_transaction_later_counts_from_when_it_came() {
    let (place, clock) = (Place::new(), ManualClock::new());
    let options = Sqlite::options().durable(false).clock(clock.clock());
    let sqlite = options.open(place.file()).await.unwrap();
    let release = hold_up(&sqlite).await;
    clock.advance(Duration::from_secs(60));
    let task = NewTask { due: Due::After(Duration::from_secs(10)), ..task("a") };
    let id = task.id;
    let storing = tokio::spawn({
        let sqlite = sqlite.clone();
        async move { sqlite.enqueue(vec![task]).await }
    });
    until_waiting(&sqlite, 1).await;
    drop(release);
    storing.await.unwrap().unwrap();
    let due = sqlite.task(id).await.unwrap().unwrap().due;
    assert_eq!(due.duration_since(clock.now()).unwrap(), Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_guilty_one_of_a_commit_is_told() {
    let place = Place::new();
    let sqlite = place.open().await;
    let release = hold_up(&sqlite).await;
    let good: Vec<_> = (0..5)
        .map(|_| {
            let sqlite = sqlite.clone();
            tokio::spawn(async move { sqlite.enqueue(vec![task("a")]).await })
        })
        .collect();
    let refused = tokio::spawn({
        let sqlite = sqlite.clone();
        async move {
            let bad = "INSERT INTO evertask_payloads (seq, codec, bytes) VALUES (NULL, NULL, NULL)";
            ask(&sqlite, move |tx| tx.execute(bad, [])).await
        }
    });
    let panicked = tokio::spawn({
        let sqlite = sqlite.clone();
        async move { ask::<()>(&sqlite, |_| panic!("not in a commit")).await }
    });
    until_waiting(&sqlite, 7).await;
    drop(release);
    for enqueue in good {
        enqueue.await.unwrap().unwrap();
    }
    let error = refused.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Rejected, "{error}");
    let error = panicked.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Other);
    assert!(error.to_string().contains("not in a commit"), "{error}");
    assert_eq!(number(&sqlite, "SELECT count(*) FROM evertask_tasks").await, 5);
}

#[tokio::test]
async fn only_the_guilty_item_of_a_settlement_is_told() {
    let place = Place::new();
    let sqlite = place.open().await;
    let node = NodeId::from_u128(1);
    sqlite.enqueue((0..3).map(|_| task("a")).collect()).await.unwrap();
    ask(&sqlite, |tx| {
        tx.conn.execute_batch(
            "CREATE TEMP TRIGGER no_poison BEFORE UPDATE ON evertask_tasks WHEN new.error = 'poison'
             BEGIN SELECT raise(ABORT, 'it is poison'); END",
        )
    })
    .await
    .unwrap();
    let claimed = claim(&sqlite, node, 1, &["a"], 3).await;
    let settle = |n: usize, verdict: Verdict, error: &str| {
        let failure = Failure::new(AttemptEnd::Failed, error);
        let mut settlement = Settlement::new(claimed[n].id, claimed[n].lease, verdict);
        settlement.attempt =
            Some(AttemptRecord::new(node, "1".into(), failure.end, Some(&failure)));
        settlement
    };
    let batch = vec![
        settle(0, Verdict::Fail, "harmless"),
        settle(1, Verdict::Fail, "poison"),
        settle(2, Verdict::Retry { after: std::time::Duration::ZERO }, "harmless"),
    ];
    let settled = sqlite.settle(batch).await.unwrap();
    assert_eq!(settled[0], Settled::Applied(TaskState::Failed));
    assert!(
        matches!(&settled[1], Settled::Unstorable(why) if why.contains("it is poison")),
        "{settled:?}"
    );
    assert_eq!(settled[2], Settled::Applied(TaskState::Pending));
    let poisoned = sqlite.task(claimed[1].id).await.unwrap().unwrap();
    assert_eq!((poisoned.state, poisoned.attempts.len()), (TaskState::Running, 0));
}

#[tokio::test]
async fn what_was_asked_is_written_though_the_caller_has_gone() {
    let place = Place::new();
    let sqlite = place.open().await;
    let gone = task("a");
    let id = gone.id;
    {
        let mut storing = pin!(sqlite.enqueue(vec![gone]));
        poll_fn(|cx| {
            let _pending = storing.as_mut().poll(cx);
            Poll::Ready(())
        })
        .await;
    }
    // Asked later, so answered later.
    sqlite.enqueue(vec![task("a")]).await.unwrap();
    assert!(sqlite.task(id).await.unwrap().is_some());
}

#[tokio::test]
async fn what_was_asked_is_written_though_the_storage_was_dropped() {
    let place = Place::new();
    let sqlite = place.open().await;
    let mut ended = sqlite.0.writer.ended();
    {
        let mut storing = pin!(sqlite.enqueue(vec![task("a")]));
        poll_fn(|cx| {
            let _pending = storing.as_mut().poll(cx);
            Poll::Ready(())
        })
        .await;
    }
    drop(sqlite);
    ended.changed().await.unwrap_err();
    let again = place.open().await;
    assert_eq!(number(&again, "SELECT count(*) FROM evertask_tasks").await, 1);
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_is_forgotten_once_there_is_room() {
    let place = Place::new();
    let sqlite = Arc::new(place.open().await);
    let pages = number(&sqlite, "PRAGMA page_count").await;
    ask(&sqlite, move |tx| tx.conn.pragma_update(None, "max_page_count", pages + 40))
        .await
        .unwrap();
    let mut stored = 0;
    let error = loop {
        match sqlite.enqueue((0..50).map(|_| task("a")).collect()).await {
            Ok(_) => stored += 50,
            Err(error) => break error,
        }
        assert!(stored < 100_000, "the disk never fills");
    };
    assert_eq!(error.kind(), StorageErrorKind::Full);
    assert!(error.to_string().contains("make room"), "{error}");
    assert_eq!(number(&sqlite, "SELECT count(*) FROM evertask_tasks").await, stored);
    ask(&sqlite, |tx| tx.conn.pragma_update(None, "max_page_count", 1_000_000)).await.unwrap();
    sqlite.enqueue((0..50).map(|_| task("a")).collect()).await.unwrap();
    assert_eq!(number(&sqlite, "SELECT count(*) FROM evertask_tasks").await, stored + 50);
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_was_emptied_takes_nothing() {
    let place = Place::new();
    let sqlite = place.open().await;
    std::fs::write(place.file(), "").unwrap();
    let error = sqlite.enqueue(vec![task("a")]).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::ReadOnly);
    assert!(error.to_string().contains("emptied"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_was_moved_away_takes_nothing() {
    let place = Place::new();
    let sqlite = place.open().await;
    let elsewhere = place.0.path().join("elsewhere.db");
    std::fs::rename(place.file(), &elsewhere).unwrap();
    let error = sqlite.enqueue(vec![task("a")]).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::ReadOnly);
    assert!(error.to_string().contains("was moved, deleted or emptied"), "{error}");
    std::fs::rename(&elsewhere, place.file()).unwrap();
    sqlite.enqueue(vec![task("a")]).await.unwrap();
    assert_eq!(number(&sqlite, "SELECT count(*) FROM evertask_tasks").await, 1);
}

#[tokio::test]
async fn a_lock_held_too_long_by_another_is_unavailable() {
    let place = Place::new();
    let patience = std::time::Duration::from_millis(20);
    let sqlite =
        Sqlite::options().durable(false).busy_timeout(patience).open(place.file()).await.unwrap();
    let other = rusqlite::Connection::open(place.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = sqlite.enqueue(vec![task("a")]).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Unavailable);
    assert!(error.is_transient());
    other.execute_batch("COMMIT").unwrap();
    sqlite.enqueue(vec![task("a")]).await.unwrap();
}
