//! How many tasks a second: stored, run from a backlog, and both at once; and what a node costs that has nothing to do.

use std::time::{Duration, Instant};

use evertask::Runtime;
use tokio::task::JoinSet;

use crate::{
    Outcome, Scale,
    floor::{BATCH, Floor},
    machine, sql,
    subject::Subject,
    table::{Table, percentile},
    work::{Welcome, ran, until_ran, welcome},
};

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// So many dispatch, one task after the other each.
    Store(usize),
    /// 1,000 at once.
    Bulk,
    Drain,
    /// So many dispatch while the node runs what they do.
    Both(usize),
}

/// The rates of one storage beside its floor; the one of 64 who dispatch while it runs is its capacity.
pub(crate) async fn rates(scale: &Scale, subject: &Subject, table: &mut Table) -> Outcome<f64> {
    let cases = [
        ("enqueue ×1", What::Store(1)),
        ("enqueue ×64", What::Store(64)),
        ("enqueue in bulk", What::Bulk),
        ("drain", What::Drain),
        ("both, ×64", What::Both(64)),
    ];
    let mut capacity = 0.0;
    for (name, what) in cases {
        let tasks = if what == What::Store(1) { scale.tasks / 20 } else { scale.tasks };
        let (mut runs, mut floors) = (Vec::new(), Vec::new());
        let (mut batches, mut asked) = (Vec::new(), Vec::new());
        for _ in 0..scale.repetitions {
            let (rate, batch) = run(subject, what, tasks).await?;
            runs.push(rate);
            batches.extend(batch);
            let batch = batch.map_or(BATCH, |batch| batch.round().max(1.0) as usize);
            let mut floor = Floor::open(subject, &scale.place).await?;
            floors.push(floor.rate(what, tasks, batch).await?);
            if what == What::Store(1) && !batches.is_empty() {
                let floor = Floor::open(subject, &scale.place).await?;
                asked.extend(floor.asked(tasks).await?);
            }
        }
        let name = match percentile(&mut batches, 50) {
            batch if batch.is_nan() => name.to_owned(),
            batch => format!("{name}, {batch:.0} to a commit"),
        };
        capacity = table.rate(subject.name(), &name, runs.clone(), floors);
        if !asked.is_empty() {
            let name = "the same, beside commits that a thread is asked for";
            table.rate(subject.name(), name, runs, asked);
        }
    }
    Ok(capacity)
}

/// Tasks per second and, where that is known, how many there were to a commit.
async fn run(subject: &Subject, what: What, tasks: usize) -> Outcome<(f64, Option<f64>)> {
    let storage = subject.fresh()?;
    if what == What::Drain {
        let client = storage.builder().await?.client().await?;
        bulk(&client, tasks).await?;
        client.shutdown().await?;
    }
    let before = ran();
    let start = Instant::now();
    let runtime = match what {
        What::Store(_) | What::Bulk => storage.builder().await?.client().await?,
        What::Drain | What::Both(_) => storage.builder().await?.start().await?,
    };
    let start = if what == What::Drain { start } else { Instant::now() };
    let commits = storage.commits();
    match what {
        What::Store(dispatchers) | What::Both(dispatchers) => {
            store(&runtime, dispatchers, tasks).await?;
        }
        What::Bulk => bulk(&runtime, tasks).await?,
        What::Drain => {}
    }
    let stored = start.elapsed();
    if matches!(what, What::Drain | What::Both(_)) {
        until_ran(before + tasks as u64).await;
    }
    // A node leaves when the last end is stored.
    runtime.shutdown().await?;
    let stores_only = matches!(what, What::Store(_) | What::Bulk);
    let took = if stores_only { stored } else { start.elapsed() };
    let batch = storage.commits().zip(commits).map(|(now, before)| {
        // Clients do not commit anything else; a node some half a dozen times.
        tasks as f64 / (now - before).max(1) as f64
    });
    Ok((tasks as f64 / took.as_secs_f64(), batch))
}

async fn store(runtime: &Runtime, dispatchers: usize, tasks: usize) -> Outcome {
    let mut all = JoinSet::new();
    for dispatcher in 0..dispatchers {
        let runtime = runtime.clone();
        all.spawn(async move {
            for n in (dispatcher..tasks).step_by(dispatchers) {
                welcome::dispatch(Welcome::to(n as u64)).on(&runtime).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    Ok(())
}

pub(crate) async fn bulk(runtime: &Runtime, tasks: usize) -> Outcome {
    for first in (0..tasks).step_by(1_000) {
        let some = first..tasks.min(first + 1_000);
        evertask::dispatch_all(some.map(|n| welcome::new(Welcome::to(n as u64))))
            .on(runtime)
            .await?;
    }
    Ok(())
}

/// What a node costs that waits.
pub(crate) async fn idle(scale: &Scale, subject: &Subject, table: &mut Table) -> Outcome {
    let storage = subject.fresh()?;
    let node = storage.builder().await?.start().await?;
    bulk(&node, 1_000.min(scale.tasks)).await?;
    tokio::time::sleep(scale.time.min(Duration::from_secs(3))).await;
    // Signs of life are few.
    let time = scale.time * 6;
    let (first, asked) = (sql::statements(subject).await?, sql::statements(subject).await?);
    let before = machine::processor_time();
    tokio::time::sleep(time).await;
    let per_second = (machine::processor_time() - before) / time.as_secs_f64();
    table.number(subject.name(), "idle: processor time", per_second, "ms/s");
    let after = sql::statements(subject).await?;
    if let (Some(first), Some(before), Some(after)) = (first, asked, after) {
        // Less what it takes to ask for their number.
        let sent = (after - before).saturating_sub(before - first);
        let per_minute = sent as f64 / time.as_secs_f64() * 60.0;
        table.number(subject.name(), "idle: statements", per_minute, "a minute");
    }
    table.number(subject.name(), "idle: memory", machine::resident(), "MiB");
    node.shutdown().await?;
    Ok(())
}
