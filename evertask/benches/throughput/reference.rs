//! For comparison: tasks that are only kept in memory, beside a tokio channel that spawns what it is sent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use evertask::{
    Runtime, TaskState, dispatch_all,
    storage::{Inspect, Memory},
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    Outcome, Scale, Welcome, executor,
    load::store,
    rate::{Rate, Watch},
    table::Table,
};

const DISPATCHERS: usize = 64;

pub(crate) fn reference(scale: &Scale, table: &mut Table) -> Outcome {
    let (mut stores, mut drains, mut floors) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.repetitions {
        let (stored, drained) = executor()?.block_on(run(scale.tasks))?;
        stores.push(stored);
        drains.push(drained);
        floors.push(executor()?.block_on(floor(scale.tasks))?);
    }
    table.rate("in memory: store", &stores, &floors, None);
    table.rate("in memory: drain", &drains, &floors, None);
    Ok(())
}

/// To store, and to drain.
async fn run(tasks: usize) -> Outcome<(Rate, Rate)> {
    let client = Runtime::builder().storage(Memory::new()).handler::<Welcome>().client().await?;
    let watch = Watch::start();
    store(DISPATCHERS, tasks).await?;
    let stored = watch.stop(tasks);
    client.shutdown().await?;

    let memory = Memory::new();
    let client = Runtime::builder().storage(memory.clone()).handler::<Welcome>().client().await?;
    for first in (0..tasks).step_by(10_000) {
        let some = first..tasks.min(first + 10_000);
        dispatch_all(some.map(|n| Welcome::to(n as u64))).await?;
    }
    client.shutdown().await?;
    let watch = Watch::start();
    let builder = Runtime::builder().storage(memory.clone()).handler::<Welcome>();
    let runtime = builder.concurrency(16).start().await?;
    while !all_completed(&memory, tasks).await? {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let drained = watch.stop(tasks);
    runtime.shutdown().await?;
    Ok((stored, drained))
}

async fn all_completed(memory: &Memory, tasks: usize) -> Outcome<bool> {
    let counts = memory.counts().await?;
    let completed = counts.iter().filter(|count| count.state == TaskState::Completed);
    Ok(completed.map(|count| count.tasks).sum::<u64>() == tasks as u64)
}

/// Sends so many payloads through a channel as JSON, and runs each in a task of its own.
async fn floor(tasks: usize) -> Outcome<Rate> {
    let (sender, mut receiver) = mpsc::channel::<Vec<u8>>(1_024);
    let done = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&done);
    let receiving = tokio::spawn(async move {
        while let Some(bytes) = receiver.recv().await {
            let done = Arc::clone(&counted);
            tokio::spawn(async move {
                if serde_json::from_slice::<Welcome>(&bytes).is_ok() {
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let watch = Watch::start();
    let mut all = JoinSet::new();
    for dispatcher in 0..DISPATCHERS {
        let sender = sender.clone();
        all.spawn(async move {
            for n in (dispatcher..tasks).step_by(DISPATCHERS) {
                sender.send(serde_json::to_vec(&Welcome::to(n as u64))?).await?;
            }
            Outcome::Ok(())
        });
    }
    drop(sender);
    while let Some(sent) = all.join_next().await {
        sent??;
    }
    receiving.await?;
    while done.load(Ordering::Relaxed) < tasks {
        tokio::task::yield_now().await;
    }
    Ok(watch.stop(tasks))
}
