//! What a million schedules in storage cost those who do not come up: `cargo bench -p evertask --bench schedules`. It prints one
//! Markdown table.
//!
//! From `cargo test` it only shows that it runs.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use evertask::{
    Runtime,
    schedule::every_hour,
    storage::{
        DueSchedules, Inspect, Known, NewTask, ScheduleChange, ScheduleRow, Sqlite, Storage,
        StoredSchedule,
    },
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// How many come up together.
const DUE: usize = 100;
/// How many tasks the engine is given.
const TASKS: usize = 10_000;

#[evertask::handler]
async fn note() {}

#[tokio::main]
async fn main() -> Outcome<()> {
    let measured = std::env::args().any(|argument| argument == "--bench");
    let counts = if measured { [1_000, 1_000_000] } else { [200, 400] };
    println!(
        "| schedules stored | a look that finds none | a look that finds {DUE} | to take these, with their tasks | tasks per second beside them | memory of the node |"
    );
    println!("|---:|---:|---:|---:|---:|---:|");
    for count in counts {
        measure(count, if measured { TASKS } else { 10 }).await?;
    }
    Ok(())
}

async fn measure(count: usize, tasks: usize) -> Outcome<()> {
    let place = tempfile::tempdir()?;
    let sqlite = Sqlite::open(place.path().join("tasks.db")).await?;
    fill(&sqlite, count).await?;
    let idle = median(21, async || look(&sqlite).await).await?;
    let due = make_due(&sqlite).await?;
    let busy = median(21, async || look(&sqlite).await).await?;
    let start = Instant::now();
    sqlite.change_schedules(take(due)).await?;
    let taken = start.elapsed();
    drop(sqlite);

    // A new process' view: nothing of the above is kept.
    let sqlite = Sqlite::open(place.path().join("tasks.db")).await?;
    let before = resident();
    let runtime = Runtime::builder().storage(sqlite).discover(false).handler::<note>();
    let runtime = runtime.start().await?;
    let start = Instant::now();
    let all = evertask::dispatch_all((0..tasks).map(|_| note::new())).on(&runtime).await?;
    for task in all.iter().rev() {
        task.output().await?;
    }
    let rate = tasks as f64 / start.elapsed().as_secs_f64();
    let memory = resident() - before;
    runtime.shutdown().await?;
    println!("| {count} | {idle:.0?} | {busy:.0?} | {taken:.1?} | {rate:.0} | {memory:.0} MiB |");
    Ok(())
}

/// Schedules that come up within a day, but not in the next hour.
async fn fill(sqlite: &Sqlite, count: usize) -> Outcome<()> {
    let client = Runtime::builder().storage(sqlite.clone()).discover(false).handler::<note>();
    let client = client.client().await?;
    note::dispatch().every(every_hour()).key("first").on(&client).await?;
    let first =
        sqlite.schedule("note".to_owned(), "first".to_owned()).await?.ok_or("it is stored")?;
    let begin = SystemTime::now() + Duration::from_secs(3_600);
    let step = Duration::from_secs(82_800) / u32::try_from(count)?;
    let row = |n: usize| {
        let next = Some(begin + step * u32::try_from(n).unwrap_or_default());
        ScheduleRow { key: key(n), next, ..first.row.clone() }
    };
    for batch in (0..count).collect::<Vec<_>>().chunks(1_000) {
        let changes = batch.iter().map(|n| ScheduleChange::to(None, row(*n))).collect();
        sqlite.change_schedules(changes).await?;
    }
    Ok(client.shutdown().await?)
}

fn key(n: usize) -> Arc<str> {
    format!("{n:07}").into()
}

async fn look(sqlite: &Sqlite) -> Outcome<DueSchedules> {
    let known: Arc<[Known]> = [Known { name: "note".into(), version: 1 }].into();
    Ok(sqlite.due_schedules(known, 1, DUE).await?)
}

async fn make_due(sqlite: &Sqlite) -> Outcome<Vec<StoredSchedule>> {
    let mut changes = Vec::new();
    for n in 0..DUE {
        let found = sqlite.schedule("note".to_owned(), key(n).to_string()).await?;
        let found = found.ok_or("it is stored")?;
        let next = Some(SystemTime::now() - Duration::from_secs(1));
        changes.push(ScheduleChange::to(Some(found.revision), ScheduleRow { next, ..found.row }));
    }
    sqlite.change_schedules(changes).await?;
    Ok(look(sqlite).await?.due)
}

/// What a node that takes them would store.
fn take(due: Vec<StoredSchedule>) -> Vec<ScheduleChange> {
    let next = Some(SystemTime::now() + Duration::from_secs(3_600));
    let change = |found: StoredSchedule| {
        let task = NewTask::new("note", evertask::Body { codec: 0, bytes: b"{}"[..].into() });
        let row = ScheduleRow { next, last: Some(task.id), ..found.row };
        ScheduleChange::to(Some(found.revision), row).with_tasks(vec![task])
    };
    due.into_iter().map(change).collect()
}

async fn median<T>(rounds: usize, work: impl AsyncFn() -> Outcome<T>) -> Outcome<Duration> {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        work().await?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[rounds / 2])
}

/// The memory this process has in use, in MiB.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib / 1024.0)
}
