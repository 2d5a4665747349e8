//! Plans: no statement of the hot path reads what it does not need.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Place, ask, claim, task};
use crate::storage::{
    Due, NewTask, NodeId, Settlement, Sqlite, Storage,
    sqlite::{claim, enqueue, lane, node, outside, settle},
};
use crate::{policy::Keep, storage::KeepBy, task::TaskId, verdict::Verdict};

/// Each line of the statement's plan names this index, and nothing is sorted or read from end to end.
async fn check(sqlite: &Sqlite, sql: &'static str, index: &str) {
    let plan = ask(sqlite, move |tx| {
        let mut explain = tx.conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
        for parameter in 1..=explain.parameter_count() {
            explain.raw_bind_parameter(parameter, 1)?;
        }
        let mut rows = explain.raw_query();
        let mut plan = Vec::new();
        while let Some(row) = rows.next()? {
            plan.push(row.get::<_, String>(3)?);
        }
        Ok(plan)
    })
    .await
    .unwrap();
    assert!(!plan.is_empty(), "{sql}");
    for line in plan {
        assert!(line.starts_with("SEARCH") && line.contains(index), "{line}\n{sql}");
    }
}

#[tokio::test]
async fn the_hot_path_only_searches() {
    let place = Place::new();
    let sqlite = place.open().await;
    check(&sqlite, claim::LINE, "evertask_pending").await;
    check(&sqlite, lane::NEXT, "COVERING INDEX evertask_pending").await;
    check(&sqlite, lane::LATER, "COVERING INDEX evertask_pending").await;
    check(&sqlite, claim::TAKE, "INTEGER PRIMARY KEY").await;
    check(&sqlite, settle::FIND, "sqlite_autoindex_evertask_tasks_1").await;
    check(&sqlite, settle::BACK, "INTEGER PRIMARY KEY").await;
    check(&sqlite, settle::END, "INTEGER PRIMARY KEY").await;
    check(&sqlite, settle::WRITTEN, "PRIMARY KEY").await;
    check(&sqlite, enqueue::HOLDER, "evertask_live_keys").await;
    check(&sqlite, enqueue::REPLACED, "evertask_requests").await;
    check(&sqlite, node::BEGUN, "evertask_running").await;
    check(&sqlite, outside::OUT_OF_TIME, "evertask_ended").await;
    check(&sqlite, outside::EXPIRED, "evertask_expiring").await;
    check(&sqlite, outside::NEXT_OUT_OF_TIME, "evertask_ended").await;
    check(&sqlite, outside::NEXT_EXPIRED, "evertask_expiring").await;
}

/// Counts the instructions that SQLite's machine runs on the writer: the work it does, whatever the machine's speed.
async fn count_work(sqlite: &Sqlite) -> Arc<AtomicU64> {
    let work = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&work);
    ask(sqlite, move |tx| {
        let counted = Arc::clone(&counted);
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            false
        };
        tx.conn.progress_handler(1, Some(count))
    })
    .await
    .unwrap();
    work
}

/// The work of taking ten tasks, ending them and pruning, twice: once after others have written and nothing is remembered.
async fn work_of_a_round(sqlite: &Sqlite, round: u64, work: &AtomicU64) -> u64 {
    sqlite.enqueue((0..20).map(|_| task("a")).collect()).await.unwrap();
    ask::<()>(sqlite, |_| Err(rusqlite::Error::InvalidQuery)).await.unwrap_err();
    let before = work.load(Ordering::Relaxed);
    for turn in 0..2 {
        let tasks = claim(sqlite, NodeId::from_u128(1), 2 * round + turn, &["a"], 10).await;
        assert_eq!(tasks.len(), 10);
        let ends = tasks.iter().map(|task| {
            let keep = Keep::For(Duration::from_secs(60));
            let keep = KeepBy { completed: keep, failed: keep, cancelled: keep };
            Settlement { keep, ..Settlement::new(task.id, task.lease, Verdict::Complete) }
        });
        sqlite.settle(ends.collect()).await.unwrap();
    }
    sqlite.prune(100).await.unwrap();
    work.load(Ordering::Relaxed) - before
}

#[tokio::test]
async fn a_round_costs_the_same_whatever_else_is_stored() {
    const MANY: usize = 5_000;
    let place = Place::new();
    let sqlite = place.open().await;
    let work = count_work(&sqlite).await;
    let almost_empty = work_of_a_round(&sqlite, 1, &work).await;

    let many =
        |task: NewTask| (0..MANY).map(|_| NewTask { id: TaskId::new(), ..task.clone() }).collect();
    let late = Due::After(Duration::from_secs(3_600));
    // Finished ones first, so that what is claimed and ended in passing is them.
    sqlite.enqueue(many(task("a"))).await.unwrap();
    let tasks = claim(&sqlite, NodeId::from_u128(1), 1_000, &["a"], MANY).await;
    let ends = tasks.iter().map(|task| Settlement::new(task.id, task.lease, Verdict::Complete));
    sqlite.settle(ends.collect()).await.unwrap();
    for other in [
        NewTask { priority: 100, due: late, ..task("a") },
        NewTask { due: late, ..task("a") },
        NewTask { priority: 100, expires: Some(Duration::from_secs(60)), ..task("unknown") },
        NewTask { version: 2, priority: 100, ..task("a") },
        NewTask { queue: "other".into(), priority: 100, ..task("a") },
    ] {
        sqlite.enqueue(many(other)).await.unwrap();
    }
    let crowded = work_of_a_round(&sqlite, 2, &work).await;
    // Lanes that are known by name are looked at once each; rows are not.
    assert!(crowded < almost_empty + almost_empty / 4, "{almost_empty} grew to {crowded}");
}
