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
    Due, NewTask, NodeId, Page, Settlement, Sqlite, Storage, TaskFilter,
    sqlite::{claim, enqueue, inspect, lane, node, outside, schedules, settle},
};
use crate::{
    policy::Keep,
    storage::KeepBy,
    task::{TaskId, TaskState},
    verdict::Verdict,
};

/// What SQLite says it will do.
async fn plan(sqlite: &Sqlite, sql: &str) -> Vec<String> {
    let sql = format!("EXPLAIN QUERY PLAN {sql}");
    ask(sqlite, move |tx| {
        let mut explain = tx.conn.prepare(&sql)?;
        for parameter in 1..=explain.parameter_count() {
            explain.raw_bind_parameter(parameter, 1)?;
        }
        let mut rows = explain.raw_query();
        let mut plan = Vec::new();
        while let Some(row) = rows.next()? {
            plan.push(row.get(3)?);
        }
        Ok(plan)
    })
    .await
    .unwrap()
}

/// Each line of the statement's plan names this index, and nothing is sorted or read from end to end.
async fn check(sqlite: &Sqlite, sql: &str, index: &str) {
    let plan = plan(sqlite, sql).await;
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
    let looking = plan(&sqlite, &schedules::due_statement()).await;
    assert!(
        looking[0].starts_with("SEARCH") && looking[0].contains("evertask_next"),
        "{looking:?}"
    );
    assert!(
        looking[1].starts_with("SEARCH") && looking.len() == 2,
        "nothing is sorted: {looking:?}"
    );
    check(&sqlite, schedules::LATER, "COVERING INDEX evertask_next").await;
    check(&sqlite, settle::FIND, "sqlite_autoindex_evertask_tasks_1").await;
    check(&sqlite, settle::BACK, "INTEGER PRIMARY KEY").await;
    check(&sqlite, settle::END, "INTEGER PRIMARY KEY").await;
    check(&sqlite, settle::COMPLETE, "INTEGER PRIMARY KEY").await;
    check(&sqlite, settle::WRITTEN, "PRIMARY KEY").await;
    check(&sqlite, enqueue::HOLDER, "evertask_live_keys").await;
    check(&sqlite, enqueue::REPLACED, "evertask_requests").await;
    check(&sqlite, node::BEGUN, "evertask_running").await;
    check(&sqlite, outside::OUT_OF_TIME, "evertask_ended").await;
    check(&sqlite, outside::EXPIRED, "evertask_expiring").await;
    check(&sqlite, outside::NEXT_OUT_OF_TIME, "evertask_ended").await;
    check(&sqlite, outside::NEXT_EXPIRED, "evertask_expiring").await;
}

#[tokio::test]
async fn a_listing_is_driven_by_the_narrowest_index() {
    let place = Place::new();
    let sqlite = place.open().await;
    let by = |state| TaskFilter { state: Some(state), ..TaskFilter::default() };
    let tag = Some(("key".to_owned(), "value".to_owned()));
    let tagged = TaskFilter { tag, ..by(TaskState::Failed) };
    let keyed = TaskFilter { key_prefix: Some("order:".to_owned()), ..TaskFilter::default() };
    let failed_so = TaskFilter { fingerprint: Some(1), ..TaskFilter::default() };
    for (filter, index, sorted) in [
        (TaskFilter::default(), "sqlite_autoindex_evertask_tasks_1 (id<?)", false),
        (by(TaskState::Completed), "sqlite_autoindex_evertask_tasks_1 (id<?)", false),
        (by(TaskState::Running), "evertask_running", true),
        (by(TaskState::Failed), "evertask_unhappy (state=? AND id<?)", false),
        (by(TaskState::Cancelled), "evertask_unhappy (state=? AND id<?)", false),
        (tagged, "evertask_tagged (key=? AND value=? AND id<?)", false),
        (keyed, "evertask_keys (key>? AND key<?)", true),
        (failed_so, "sqlite_autoindex_evertask_tasks_1 (id=?)", false),
    ] {
        let page = Page { before: Some(TaskId::new()), limit: 10 };
        let plan = plan(&sqlite, &inspect::listing(&filter, page).0).await;
        assert!(plan[0].contains(index), "{filter:?}: {plan:#?}");
        let sorts = plan.iter().any(|line| line.contains("TEMP B-TREE"));
        assert_eq!(sorts, sorted, "{filter:?}: {plan:#?}");
    }
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
