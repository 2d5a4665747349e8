//! What it costs that much else is stored: nothing, if it is right.

use mysql_async::prelude::Queryable;
use rusqlite::Connection;

use crate::{
    Outcome, Scale,
    arrivals::{self, Point},
    rate::{self, What, middle},
    size, sql,
    subject::{Fresh, Subject},
    table::Table,
    work::{Welcome, welcome},
};

/// All that is measured beside many tasks that have ended, and beside many that are due in a century at the highest priority; in
/// turns with a storage that has nothing else in it.
pub(crate) async fn beside(
    scale: &Scale,
    subject: &Subject,
    capacity: f64,
    table: &mut Table,
) -> Outcome {
    if matches!(subject, Subject::Memory) {
        return Ok(());
    }
    for (crowd, name) in [(ENDED, "ended"), (LATER, "due later")] {
        let beside = format!(" beside {} {name}", scale.crowd);
        let storages = [subject.fresh()?, subject.fresh()?];
        let [_empty, full] = &storages;
        fill(full, crowd, scale.crowd).await?;
        // What the first stores is what the second drains.
        let cases = [
            ("enqueue ×64", What::Store(64)),
            ("drain", What::Drain),
            ("both, ×64", What::Both(64)),
        ];
        let mut runs = [const { [const { Vec::new() }; 2] }; 3];
        let mut waited = [const { Vec::new() }; 2];
        for turn in 0..scale.repetitions {
            for at in 0..2 {
                // Each goes first as often.
                let at = (at + turn) % 2;
                for (runs, (_, what)) in runs.iter_mut().zip(cases) {
                    runs[at].push(rate::on(&storages[at], what, scale.tasks).await?);
                }
                let arrived = arrivals::run(scale, &storages[at], capacity / 2.0, turn as u64);
                waited[at].push(arrived.await?);
            }
        }
        for ((case, _), [empty, full]) in cases.into_iter().zip(runs) {
            let statements = middle(&full, |run| run.statements);
            let [full, empty] =
                [full, empty].map(|runs| runs.iter().map(|run| run.rate).collect::<Vec<_>>());
            table.rate(subject.name(), &format!("{case}{beside}"), full, empty, statements);
        }
        let [alone, crowded] = waited.map(|runs| Point {
            storage: subject.name(),
            floor: false,
            rate: capacity / 2.0,
            waited: arrivals::middle(&runs),
        });
        table.latency(50, &beside, &crowded, &alone);
        rate::idle(scale, subject, (full, &beside), table).await?;
        size::measure(scale, subject, (full, &beside), table).await?;
    }
    Ok(())
}

/// State, instant at which they are due, when they ended, and when they are to be deleted, as SQL for the `n`th.
type Crowd = [&'static str; 4];
const ENDED: Crowd = ["2", "n", "n", "4102444800000000 + n"];
const LATER: Crowd = ["0", "4102444800000000 + n", "NULL", "NULL"];

/// Their ids are as those of all tasks: in the order in which they came, before those that are to come.
async fn fill(storage: &Fresh<'_>, crowd: Crowd, many: usize) -> Outcome {
    // It makes the tables, and the lane of the handler.
    let client = storage.builder().await?.client().await?;
    let task = welcome::dispatch(Welcome::to(0)).priority(i16::MAX).on(&client).await?;
    task.cancel().await?;
    client.shutdown().await?;
    let [state, due, ended, prune] = crowd;
    let payload = r#"{"user":{"planned":0,"email":"user12345@example.com"}}"#;
    match storage {
        Fresh::Memory(_) => {}
        Fresh::Sqlite(directory, _) => {
            let sql = Connection::open(directory.path().join("tasks.db"))?;
            sql.execute_batch(&format!(
                "BEGIN;
                 WITH RECURSIVE n(n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM n LIMIT {many})
                 INSERT INTO evertask_tasks (seq, id, lane, state, created_at, due_at, finished_at, prune_at)
                 SELECT n, CAST(char(1) || printf('%015d', n) AS BLOB), (SELECT max(lane) FROM evertask_lanes), {state}, 0, {due}, {ended}, {prune}
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
                 INSERT INTO tasks (id, lane, created_at, due_at, state, finished_at, prune_at, codec, payload)
                 SELECT (lpad(to_hex(1700000000000 + n), 12, '0') || '70008' || substr(md5(n::text), 1, 15))::uuid,
                     (SELECT max(lane) FROM lanes), 0, {due}, {state}, {ended}, {prune}, 0, '{payload}' FROM generate_series(1, {many}) AS n"
            ))
            .await?;
            sql.batch_execute("VACUUM ANALYZE tasks").await?;
            sql.batch_execute("CHECKPOINT").await?;
        }
        Fresh::Mariadb(server, prefix) => {
            let mut sql = sql::mariadb(server).await?;
            sql.query_drop(format!(
                "INSERT INTO {prefix}tasks (id, lane, line, created_at, due_at, state, finished_at, prune_at, codec, payload)
                 SELECT UNHEX(CONCAT(LPAD(HEX(1700000000000 + n), 12, '0'), '70008', LEFT(MD5(n), 15))), lane, IF({state} = 0, lane, NULL),
                     0, {due}, {state}, {ended}, {prune}, 0, '{payload}'
                 FROM (SELECT seq AS n FROM seq_1_to_{many}) AS numbers, (SELECT MAX(lane) AS lane FROM {prefix}lanes) AS lanes"
            ))
            .await?;
            sql.disconnect().await?;
        }
    }
    Ok(())
}
