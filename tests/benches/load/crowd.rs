//! What it costs that much else is stored: nothing, if it is right.

use std::time::Instant;

use mysql_async::prelude::Queryable;
use rusqlite::Connection;

use crate::{
    Outcome, Scale,
    rate::bulk,
    sql,
    subject::{Fresh, Subject},
    table::Table,
    work::{Welcome, ran, until_ran, welcome},
};

/// Draining beside many tasks that have ended, and beside many that are due in a century at the highest priority; in turns with
/// an empty storage.
pub(crate) async fn beside(scale: &Scale, subject: &Subject, table: &mut Table) -> Outcome {
    if matches!(subject, Subject::Memory) {
        return Ok(());
    }
    for (crowd, name) in [(ENDED, "ended"), (LATER, "due later")] {
        let (empty, full) = (subject.fresh()?, subject.fresh()?);
        fill(&full, crowd, scale.crowd).await?;
        let mut shares = Vec::new();
        for _ in 0..scale.repetitions {
            let empty = drain(&empty, scale.tasks).await?;
            shares.push(drain(&full, scale.tasks).await? / empty);
        }
        table.share(
            subject.name(),
            &format!("drain beside {} that are {name}", scale.crowd),
            shares,
        );
    }
    Ok(())
}

/// State, instant at which they are due, and the end of those that have ended, as SQL for the `n`th.
type Crowd = [&'static str; 3];
const ENDED: Crowd = ["2", "n", "n"];
const LATER: Crowd = ["0", "4102444800000000 + n", "NULL"];

/// Their ids are as those of all tasks: in the order in which they came, before those that are to come.
async fn fill(storage: &Fresh<'_>, crowd: Crowd, many: usize) -> Outcome {
    // It makes the tables, and the lane of the handler.
    let client = storage.builder().await?.client().await?;
    let task = welcome::dispatch(Welcome::to(0)).priority(i16::MAX).on(&client).await?;
    task.cancel().await?;
    client.shutdown().await?;
    let [state, due, ended] = crowd;
    let payload = r#"{"user":{"planned":0,"email":"user12345@example.com"}}"#;
    match storage {
        Fresh::Memory(_) => {}
        Fresh::Sqlite(directory, _) => {
            let sql = Connection::open(directory.path().join("tasks.db"))?;
            sql.execute_batch(&format!(
                "BEGIN;
                 WITH RECURSIVE n(n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM n LIMIT {many})
                 INSERT INTO evertask_tasks (seq, id, lane, state, created_at, due_at, finished_at)
                 SELECT n, CAST(char(1) || printf('%015d', n) AS BLOB), (SELECT max(lane) FROM evertask_lanes), {state}, 0, {due}, {ended}
                 FROM n;
                 INSERT INTO evertask_payloads (seq, codec, bytes)
                 SELECT seq, 0, CAST('{payload}' AS BLOB) FROM evertask_tasks WHERE seq >= 10;
                 COMMIT;"
            ))?;
        }
        Fresh::Postgres(server, schema) => {
            let sql = sql::postgres(server).await?;
            sql.batch_execute(&format!(
                "SET search_path = {schema};
                 INSERT INTO tasks (id, lane, created_at, due_at, state, finished_at, codec, payload)
                 SELECT (lpad(to_hex(1700000000000 + n), 12, '0') || '70008' || substr(md5(n::text), 1, 15))::uuid,
                     (SELECT max(lane) FROM lanes), 0, {due}, {state}, {ended}, 0, '{payload}' FROM generate_series(1, {many}) AS n"
            ))
            .await?;
            sql.batch_execute("VACUUM ANALYZE tasks").await?;
            sql.batch_execute("CHECKPOINT").await?;
        }
        Fresh::Mariadb(server, prefix) => {
            let mut sql = sql::mariadb(server).await?;
            sql.query_drop(format!(
                "INSERT INTO {prefix}tasks (id, lane, line, created_at, due_at, state, finished_at, codec, payload)
                 SELECT UNHEX(CONCAT(LPAD(HEX(1700000000000 + n), 12, '0'), '70008', LEFT(MD5(n), 15))), lane, IF({state} = 0, lane, NULL),
                     0, {due}, {state}, {ended}, 0, '{payload}'
                 FROM (SELECT seq AS n FROM seq_1_to_{many}) AS numbers, (SELECT MAX(lane) AS lane FROM {prefix}lanes) AS lanes"
            ))
            .await?;
            sql.disconnect().await?;
        }
    }
    Ok(())
}

async fn drain(storage: &Fresh<'_>, tasks: usize) -> Outcome<f64> {
    let client = storage.builder().await?.client().await?;
    bulk(&client, tasks).await?;
    client.shutdown().await?;
    let (before, start) = (ran(), Instant::now());
    let node = storage.builder().await?.start().await?;
    until_ran(before + tasks as u64).await;
    node.shutdown().await?;
    Ok(tasks as f64 / start.elapsed().as_secs_f64())
}
