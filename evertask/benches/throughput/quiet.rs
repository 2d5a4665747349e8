//! What waiting costs: the processor time of an idle node, and the memory of a large backlog.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use evertask::{Runtime, dispatch_all, storage::Sqlite};

use crate::{Outcome, Scale, Welcome, executor, machine, table::Table};

const FAR: Duration = Duration::from_secs(365 * 86_400);

/// With this and a path, the program only starts a node on that file and tells how that went.
pub(crate) const RESTART: &str = "--restart";

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
    let again = Command::new(std::env::current_exe()?).arg(RESTART).arg(&path).output()?;
    let text = String::from_utf8_lossy(&again.stdout);
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [open, start, memory] = numbers[..] else {
        return Err(format!("no restart: {again:?}").into());
    };
    table.number("restart with them: storage opened in", open, "ms", None);
    table.number("restart with them: node started in", start, "ms", Some(100.0));
    table.number("restart with them: memory", memory, "MiB", Some(64.0));
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
