//! How many tasks a second: stored, run from a backlog, and both at once; and what a node costs that has nothing to do.

use std::time::{Duration, Instant};

use evertask::Runtime;
use tokio::task::JoinSet;

use crate::{
    Outcome, Scale,
    floor::{BATCH, Floor},
    machine,
    subject::{Fresh, Subject},
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

/// What one run came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Tasks per second.
    pub(crate) rate: f64,
    /// Tasks to a transaction, where that is known.
    batch: Option<f64>,
    /// Statements to a task, where that is known.
    pub(crate) statements: Option<f64>,
}

/// How many tasks a second 64 can dispatch while they are run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Capacity {
    pub(crate) run: f64,
    pub(crate) floor: f64,
}

/// The rates of one storage beside its floor.
pub(crate) async fn rates(
    scale: &Scale,
    subject: &Subject,
    table: &mut Table,
) -> Outcome<Capacity> {
    let cases = [
        ("enqueue ×1", What::Store(1)),
        ("enqueue ×64", What::Store(64)),
        ("enqueue in bulk", What::Bulk),
        ("drain", What::Drain),
        ("both, ×64", What::Both(64)),
    ];
    let mut capacity = Capacity::default();
    let all = scale.tasks_of(subject);
    for (name, what) in cases {
        let tasks = if what == What::Store(1) { all / 20 } else { all };
        let (mut runs, mut floors, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..scale.repetitions {
            let run = run(subject, what, tasks).await?;
            let batch = run.batch.map_or(BATCH, |batch| batch.round().max(1.0) as usize);
            runs.push(run);
            let mut floor = Floor::open(subject, &scale.place).await?;
            floors.push(floor.rate(what, tasks, batch).await?);
            if what == What::Store(1) {
                let floor = Floor::open(subject, &scale.place).await?;
                asked.extend(floor.asked(tasks).await?);
            }
        }
        let name = match middle(&runs, |run| run.batch) {
            None => name.to_owned(),
            Some(batch) => format!("{name}, {batch:.0} to a transaction"),
        };
        let statements = middle(&runs, |run| run.statements);
        let rates: Vec<_> = runs.iter().map(|run| run.rate).collect();
        capacity = table.rate(subject.name(), &name, rates.clone(), floors, statements);
        if !asked.is_empty() {
            let name = "the same, beside commits that a thread is asked for";
            table.rate(subject.name(), name, rates, asked, None);
        }
    }
    Ok(capacity)
}

/// The median of what is known of all.
pub(crate) fn middle(runs: &[Run], of: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
    let mut known: Vec<_> = runs.iter().filter_map(of).collect();
    (!known.is_empty()).then(|| percentile(&mut known, 50))
}

/// On a storage that has nothing to do but this.
async fn run(subject: &Subject, what: What, tasks: usize) -> Outcome<Run> {
    let storage = subject.fresh()?;
    if what == What::Drain {
        let client = storage.builder().await?.client().await?;
        bulk(&client, tasks).await?;
        client.shutdown().await?;
    }
    on(&storage, what, tasks).await
}

/// On this storage; what is to be drained is there.
pub(crate) async fn on(storage: &Fresh<'_>, what: What, tasks: usize) -> Outcome<Run> {
    let builder = storage.builder().await?;
    let sent = storage.sent(what).await?;
    let (before, mut start) = (ran(), Instant::now());
    let runtime = match what {
        What::Store(_) | What::Bulk => builder.client().await?,
        What::Drain | What::Both(_) => builder.start().await?,
    };
    if what != What::Drain {
        start = Instant::now();
    }
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
    // Clients send next to nothing else; a node some dozen statements.
    let since = storage.sent(what).await?.zip(sent);
    let all = tasks as f64;
    Ok(Run {
        rate: all / took.as_secs_f64(),
        batch: since.map(|(now, sent)| all / (now.batches - sent.batches).max(1) as f64),
        statements: since.map(|(now, sent)| (now.statements - sent.statements) as f64 / all),
    })
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
pub(crate) async fn idle(
    scale: &Scale,
    subject: &Subject,
    (storage, beside): (&Fresh<'_>, &str),
    table: &mut Table,
) -> Outcome {
    let node = storage.builder().await?.start().await?;
    let before = ran();
    let tasks = 1_000.min(scale.tasks);
    bulk(&node, tasks).await?;
    until_ran(before + tasks as u64).await;
    tokio::time::sleep(scale.time.min(Duration::from_secs(3))).await;
    // Signs of life are few.
    let time = scale.time * 3;
    let (first, asked) = (storage.sent(What::Drain).await?, storage.sent(What::Drain).await?);
    let before = machine::processor_time();
    tokio::time::sleep(time).await;
    let per_second = (machine::processor_time() - before) / time.as_secs_f64();
    let mut say = |what: &str, number: f64, unit: &str| {
        table.number(subject.name(), &format!("idle{beside}: {what}"), number, unit);
    };
    say("processor time", per_second, "ms/s");
    let after = storage.sent(What::Drain).await?;
    if let (Some(first), Some(before), Some(after)) = (first, asked, after) {
        // Less what it takes to ask for their number.
        let asking = before.statements - first.statements;
        let sent = (after.statements - before.statements).saturating_sub(asking);
        say("statements", sent as f64 / time.as_secs_f64() * 60.0, "a minute");
    }
    node.shutdown().await?;
    Ok(())
}
