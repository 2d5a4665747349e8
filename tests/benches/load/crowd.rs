//! What it costs that much else is stored: nothing, if it is right.

use std::time::Instant;

use rusqlite::{Connection, params};

use crate::{
    Outcome, Scale,
    rate::bulk,
    subject::{Fresh, Subject},
    table::Table,
    work::{ran, until_ran},
};

/// Draining beside many tasks that have ended, and beside many that are due in a century at the highest priority. PostgreSQL has
/// a benchmark of its own for this, `postgres`, case `beside`.
pub(crate) async fn beside(scale: &Scale, subject: &Subject, table: &mut Table) -> Outcome {
    if !matches!(subject, Subject::Sqlite(_)) {
        return Ok(());
    }
    for (state, name) in [(2, "ended"), (0, "due later")] {
        let mut shares = Vec::new();
        for _ in 0..scale.repetitions {
            let (empty, full) = (subject.fresh()?, subject.fresh()?);
            fill(&full, state, scale.crowd).await?;
            let (empty, full) =
                (drain(&empty, scale.tasks).await?, drain(&full, scale.tasks).await?);
            shares.push(full / empty);
        }
        table.share(
            subject.name(),
            &format!("drain beside {} that are {name}", scale.crowd),
            shares,
        );
    }
    Ok(())
}

async fn fill(storage: &Fresh<'_>, state: u8, many: usize) -> Outcome {
    let Some(path) = storage.file() else { return Ok(()) };
    // It makes the tables, and the lane of the handler.
    let client = storage.builder().await?.client().await?;
    crate::work::welcome::dispatch(crate::Welcome::to(0)).priority(i16::MAX).on(&client).await?;
    client.shutdown().await?;
    let sql = Connection::open(path)?;
    sql.execute_batch("UPDATE evertask_tasks SET state = 2")?;
    let due = if state == 0 { 4_102_444_800_000_000_i64 } else { 0 };
    sql.execute(
        "WITH RECURSIVE n(n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM n LIMIT ?1)
         INSERT INTO evertask_tasks (seq, id, lane, state, created_at, due_at, finished_at)
         SELECT n, randomblob(16), (SELECT max(lane) FROM evertask_lanes), ?2, 0, ?3 + n, iif(?2 = 2, n, NULL) FROM n",
        params![i64::try_from(many)?, state, due],
    )?;
    sql.execute_batch(
        r#"INSERT INTO evertask_payloads (seq, codec, bytes)
           SELECT seq, 0, CAST('{"planned":0,"email":""}' AS BLOB) FROM evertask_tasks WHERE seq >= 10"#,
    )?;
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
