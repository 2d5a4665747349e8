//! The plans of all statements, held to the indexes made for them, and what a claim costs beside a full table.

use tokio_postgres::types::Type;

use super::{fresh, session};
use crate::{
    body::Body,
    storage::{
        NewTask, Storage,
        postgres::{
            batch, claim,
            connection::{Connection, Sql},
            inspect, lane, node, outside,
            row::get,
            schedules, settle, verdicts,
        },
    },
};

async fn plan(conn: &Connection, sql: &Sql) -> String {
    let types: Vec<&str> = sql.types.iter().map(Type::name).collect();
    let nothing = vec!["NULL"; types.len()].join(", ");
    let (types, nothing) = match types.len() {
        0 => (String::new(), String::new()),
        _ => (format!("({})", types.join(", ")), format!("({nothing})")),
    };
    conn.script(&format!("PREPARE it{types} AS {}", sql.text)).await.unwrap();
    let rows = conn.ask(&format!("EXPLAIN EXECUTE it{nothing}"), &[]).await.unwrap();
    conn.script("DEALLOCATE it").await.unwrap();
    let lines = rows.iter().map(|row| get::<String>(row, 0).unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn every_statement_goes_by_its_index() {
    let Some((options, url)) = fresh() else { return };
    let postgres = options.connect(url).await.unwrap();
    let conn = session(&postgres).await;
    let statements: &[(&Sql, &[&str])] = &[
        (&batch::SEEN, &["tasks_pkey", "tasks_requests"]),
        (&batch::UNTAG, &["tasks_requests", "tags_pkey"]),
        (&batch::TAG, &["tasks_requests"]),
        (&batch::HOLDERS, &["tasks_live_keys"]),
        (&outside::HOLDER, &["tasks_live_keys"]),
        (&claim::GOT, &["tasks_running"]),
        (&claim::HEADS, &["tasks_pending"]),
        (&claim::FILLED, &["tasks_pending"]),
        (&claim::TAKE, &["tasks_pending", "Tid Scan"]),
        (&settle::COMPLETE, &["tasks_pkey"]),
        (&settle::FIND, &["tasks_pkey"]),
        (&settle::WRITTEN, &["attempts_pkey"]),
        (&verdicts::Back::SQL, &["tasks_pkey"]),
        (&verdicts::Ends::SQL, &["tasks_pkey"]),
        (&verdicts::Attempts::DROP_OLDEST, &["attempts_pkey"]),
        (&node::BEGIN, &["tasks_pkey"]),
        (&node::HELD, &["tasks_running"]),
        (&node::HELD_BY, &["tasks_running"]),
        (&node::PEERS, &["tasks_running"]),
        (&node::PEERS_FROM, &["tasks_running", "nodes_pkey"]),
        (&node::SEIZE, &["tasks_running", "tasks_pkey"]),
        (&node::SEIZED, &["tasks_running"]),
        (&outside::DELETE, &["tasks_pkey", "tags_pkey", "attempts_pkey"]),
        (&outside::PRUNE, &["tasks_ended", "Tid Scan", "tags_pkey", "attempts_pkey"]),
        (&outside::EXPIRE, &["tasks_expiring", "Tid Scan"]),
        (&outside::NEXT, &["tasks_ended", "tasks_expiring"]),
        (&inspect::DUE, &["tasks_pending"]),
        (&lane::NEW, &["lanes_pkey"]),
        (&schedules::DUE, &["schedules_next", "tasks_pkey"]),
        (&schedules::LATER, &["schedules_next"]),
        (&schedules::SET, &["schedules_pkey"]),
        (&schedules::REVISIONS, &["schedules_pkey"]),
    ];
    for (sql, indexes) in statements {
        let plan = plan(&conn, sql).await;
        if std::env::var_os("EVERTASK_SHOW_PLANS").is_some() {
            println!("{}\n\n{plan}\n", sql.text);
        }
        let whole =
            ["tasks", "tags", "attempts", "schedules"].map(|table| format!("Seq Scan on {table}"));
        let fits = indexes.iter().all(|index| plan.contains(index))
            && whole.iter().all(|scan| !plan.contains(scan));
        assert!(fits, "{}\n\n{plan}\n\nexpected {indexes:?}", sql.text);
        // Only what was put in order for a reason is sorted: heads of lanes, ids before they are locked, one node's tasks.
        assert!(!plan.contains("Hash Join") && !plan.contains("Merge Join"), "{plan}");
    }
}

/// How many pages the statements of a claim touch which takes the first ten of lane 1.
async fn pages(conn: &Connection) -> i64 {
    conn.script("BEGIN").await.unwrap();
    let mut pages = 0;
    let statements = [
        (&claim::HEADS, "'{1}', '{false}', 10000, '{0}', '{00000000-0000-0000-0000-000000000000}'"),
        (
            &claim::TAKE,
            "'{1}', '{0}', '{0}', '{52}', '{0}', '{10}', '{0}', 10, 10000, '00000000-0000-0000-0000-000000000000', 1,
             NULL, 'expired', 1, '{0}', '{00000000-0000-0000-0000-000000000000}'",
        ),
    ];
    for (sql, values) in statements {
        let types: Vec<&str> = sql.types.iter().map(Type::name).collect();
        conn.script(&format!("PREPARE it({}) AS {}", types.join(", "), sql.text)).await.unwrap();
        let explain = format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) EXECUTE it({values})");
        // The first run reads what the second finds in memory.
        conn.ask(&explain, &[]).await.unwrap();
        conn.script("ROLLBACK; BEGIN").await.unwrap();
        let rows = conn.ask(&explain, &[]).await.unwrap();
        conn.script("ROLLBACK; BEGIN; DEALLOCATE it").await.unwrap();
        let lines = rows.iter().map(|row| get::<String>(row, 0).unwrap());
        let buffers = { lines }.find(|line| line.contains("Buffers: shared")).unwrap();
        let counts = buffers.split([' ', '=']).filter_map(|word| word.parse::<i64>().ok());
        pages += counts.sum::<i64>();
    }
    conn.script("ROLLBACK").await.unwrap();
    pages
}

#[tokio::test]
async fn a_claim_costs_the_same_beside_what_has_ended_is_due_later_or_known_to_nobody() {
    let Some((options, url)) = fresh() else { return };
    let postgres = options.connect(url).await.unwrap();
    // Makes lane 1, so that others can be filled by hand.
    let task = NewTask::new("mail", Body::json(&()).unwrap());
    postgres.enqueue(vec![task]).await.unwrap();
    let conn = session(&postgres).await;
    let fill = |lane: u32, state: u32, due_at: &str, count: u32| {
        format!(
            "INSERT INTO tasks (id, lane, created_at, due_at, state, codec, payload)
             SELECT gen_random_uuid(), {lane}, 0, {due_at}, {state}, 0, '' FROM generate_series(1, {count}) AS n;"
        )
    };
    conn.script(&fill(1, 0, "n", 100)).await.unwrap();
    conn.script("VACUUM ANALYZE tasks").await.unwrap();
    let alone = pages(&conn).await;
    // Ended in the same lane, due later in the same one and in one of a higher priority, of an unknown handler.
    conn.script(&fill(1, 2, "n", 20_000)).await.unwrap();
    conn.script(&fill(1, 0, "1000000 + n", 20_000)).await.unwrap();
    conn.script(&fill(2, 0, "1000000 + n", 20_000)).await.unwrap();
    conn.script(&fill(3, 0, "-n", 20_000)).await.unwrap();
    conn.script("VACUUM ANALYZE tasks").await.unwrap();
    let beside = pages(&conn).await;
    // Deeper indexes and a larger map of free space, nothing else.
    assert!(beside <= alone + alone / 2 + 20, "{beside} pages instead of {alone}");
}
