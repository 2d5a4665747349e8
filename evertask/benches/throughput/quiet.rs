//! What waiting costs: the processor time of an idle node, and the memory of a large backlog.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use evertask::{Runtime, dispatch_all, storage::Sqlite};
use rusqlite::{Connection, params};

use crate::{Outcome, Scale, Welcome, executor, machine, table::Table};

const FAR: Duration = Duration::from_secs(365 * 86_400);

/// With this and a path, the program only starts a node on that file and tells how that went.
pub(crate) const RESTART: &str = "--restart";

/// With this and a path, it runs what is due there, and tells how much memory that took.
pub(crate) const DRAIN: &str = "--drain";

pub(crate) fn idle(scale: &Scale, table: &mut Table) -> Outcome {
    let directory = tempfile::tempdir_in(&scale.place)?;
    let (time, traffic) = executor()?.block_on(async {
        let storage = Sqlite::open(directory.path().join("tasks.db")).await?;
        let runtime =
            Runtime::builder().storage(storage.clone()).handler::<Welcome>().start().await?;
        store(scale.backlog.min(10_000)).await?;
        // What is to be done after a write is done by then.
        tokio::time::sleep(scale.idle.min(Duration::from_secs(4))).await;
        let (time, traffic) = (machine::processor_time(), storage.traffic());
        tokio::time::sleep(scale.idle).await;
        let time = machine::processor_time() - time;
        let now = storage.traffic();
        runtime.shutdown().await?;
        storage.close().await;
        Outcome::Ok((time, now.0 - traffic.0 + now.1 - traffic.1))
    })?;
    table.number(&format!("idle for {:?}: processor time", scale.idle), time, "ms", Some(20.0));
    table.number("idle: transactions", traffic as f64, "", Some(0.0));
    Ok(())
}

pub(crate) fn backlog(scale: &Scale, table: &mut Table) -> Outcome {
    let directory = tempfile::tempdir_in(&scale.place)?;
    let path = directory.path().join("tasks.db");
    let (before, after, rate) = executor()?.block_on(async {
        let storage = Sqlite::open(&path).await?;
        let runtime =
            Runtime::builder().storage(storage.clone()).handler::<Welcome>().start().await?;
        // The caches fill up with any number of tasks.
        store(scale.backlog / 20).await?;
        let (before, start) = (machine::resident(), Instant::now());
        store(scale.backlog).await?;
        let rate = scale.backlog as f64 / start.elapsed().as_secs_f64();
        let after = machine::resident();
        runtime.shutdown().await?;
        storage.close().await;
        Outcome::Ok((before, after, rate))
    })?;
    let many = scale.backlog;
    table.number(&format!("{many} future tasks: stored by `dispatch_all`"), rate, "/s", None);
    table.number("before them: memory", before, "MiB", None);
    table.number("with them: memory gained", after - before, "MiB", Some(16.0));
    let [open, start, memory] = another_process(RESTART, &path)?;
    table.number("restart with them: storage opened in", open, "ms", None);
    table.number("restart with them: node started in", start, "ms", Some(100.0));
    table.number("restart with them: memory", memory, "MiB", Some(64.0));

    finish(&path, many)?;
    executor()?.block_on(async {
        let storage = Sqlite::open(&path).await?;
        let client =
            Runtime::builder().storage(storage.clone()).handler::<Welcome>().client().await?;
        let due: Vec<_> = (0..scale.tasks as u64).map(Welcome::to).collect();
        for some in due.chunks(5_000) {
            dispatch_all(some.to_vec()).await?;
        }
        client.shutdown().await?;
        storage.close().await;
        Outcome::Ok(())
    })?;
    let [idle, most] = another_process(DRAIN, &path)?;
    table.number(&format!("beside {many} of each, before a drain: memory"), idle, "MiB", None);
    let case = format!(
        "{} drained beside {many} that have ended and {many} future ones: most memory",
        scale.tasks
    );
    table.number(&case, most, "MiB", Some(30.0));
    Ok(())
}

/// What this program says of the file when it is started anew, so that nothing of what it did before is counted.
fn another_process<const N: usize>(flag: &str, path: &Path) -> Outcome<[f64; N]> {
    let done = Command::new(std::env::current_exe()?).arg(flag).arg(path).output()?;
    let text = String::from_utf8_lossy(&done.stdout);
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    numbers.try_into().map_err(|_| format!("`{flag}` did not work: {done:?}").into())
}

/// So many tasks more, which have ended, to be kept for a day. Their ids are in the order of time, as all ids are.
fn finish(path: &Path, many: usize) -> Outcome {
    let sql = Connection::open(path)?;
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_micros())?;
    sql.execute(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT ?1)
         INSERT INTO evertask_tasks (id, lane, state, created_at, due_at, finished_at, prune_at, spent, output_codec, output)
         SELECT unhex(printf('%012x70008000%012x', ?2 / 1000, n)), (SELECT max(lane) FROM evertask_lanes), 2, ?2, ?2, ?2 + n, ?2 + n + 86400000000, 1, 0, CAST('null' AS BLOB)
         FROM n",
        params![i64::try_from(many)?, now],
    )?;
    sql.execute_batch(
        r#"INSERT INTO evertask_payloads (seq, codec, bytes)
           SELECT seq, 0, CAST('{"user_id":1,"email":"user@example.com"}' AS BLOB) FROM evertask_tasks WHERE state = 2"#,
    )?;
    Ok(())
}

/// Stores so many tasks that are due in a year.
async fn store(tasks: usize) -> Outcome {
    for first in (0..tasks).step_by(10_000) {
        let some = first..tasks.min(first + 10_000);
        dispatch_all(some.map(|n| Welcome::to(n as u64))).after(FAR).await?;
    }
    Ok(())
}

/// Starts a node on what is stored there; prints how long the two steps took, and the memory in use a moment later.
pub(crate) fn restarted(path: impl AsRef<Path>) -> Outcome {
    executor()?.block_on(async {
        let begin = Instant::now();
        let storage = Sqlite::open(path).await?;
        let opened = Instant::now();
        let runtime = Runtime::builder().storage(storage).handler::<Welcome>().start().await?;
        let started = Instant::now();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let ms = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
        println!("{} {} {}", ms(begin, opened), ms(opened, started), machine::resident());
        runtime.shutdown().await?;
        Ok(())
    })
}

/// Runs all that is due there; prints the memory in use before, and the most there ever was.
pub(crate) fn drained(path: impl AsRef<Path>) -> Outcome {
    executor()?.block_on(async {
        let storage = Sqlite::open(path).await?;
        let before = machine::resident();
        let runtime = Runtime::builder().storage(storage).handler::<Welcome>().start().await?;
        while runtime.health().await.due.iter().any(|line| line.due > 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        runtime.shutdown().await?;
        println!("{before} {}", machine::memory("VmHWM:"));
        Ok(())
    })
}
