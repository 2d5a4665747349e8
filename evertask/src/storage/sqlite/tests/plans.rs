//! Plans: no statement of the hot path reads what it does not need.

use super::{Place, ask};
use crate::storage::sqlite::{claim, enqueue, lane, node, outside, settle};

/// Each line of the statement's plan names this index, and nothing is sorted or read from end to end.
async fn check(sqlite: &super::Sqlite, sql: &'static str, index: &str) {
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
    let sqlite = Place::new().open().await;
    check(&sqlite, claim::LINE, "evertask_pending").await;
    check(&sqlite, lane::NEXT, "COVERING INDEX evertask_pending").await;
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
