//! What a million schedules in storage cost those who do not come up, beside none: `cargo bench -p evertask --bench schedules
//! --features postgres,mysql`. It prints one Markdown table. The servers run on the same machine, with every commit synced.
//!
//! From `cargo test` it only shows that it runs, on SQLite.

use std::{
    fs,
    ops::Range,
    process::Command,
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [node, url, tasks] = arguments.as_slice()
        && node == "node"
    {
        return run_node(url, tasks.parse()?).await;
    }
    let measured = arguments.iter().any(|argument| argument == "--bench");
    let counts = if measured { [0, 1_000_000] } else { [0, 400] };
    println!(
        "| storage | schedules stored | a look that finds none | that finds one | that finds {DUE} | to take these, with their tasks | tasks per second beside them | memory of a node |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for count in counts {
        let scale = Scale { count, tasks: if measured { TASKS } else { 10 } };
        let place = tempfile::tempdir()?;
        let file = place.path().join("tasks.db");
        let url = format!("sqlite://{}", file.display());
        measure("SQLite", scale, &url, async || Ok(Sqlite::open(&file).await?)).await?;
        if measured {
            on_servers(scale).await?;
        }
    }
    Ok(())
}

#[cfg_attr(not(any(feature = "postgres", feature = "mysql")), expect(clippy::unused_async))]
async fn on_servers(scale: Scale) -> Outcome<()> {
    #[cfg(feature = "postgres")]
    if let Some(server) = evertask_servers::own_postgres() {
        use evertask::storage::Postgres;

        let name = format!("PostgreSQL {}", server.major());
        let url = server.url();
        measure(&name, scale, &url, async || Ok(Postgres::connect(&url).await?)).await?;
    }
    #[cfg(feature = "mysql")]
    if let Some(server) = evertask_servers::own_mariadb() {
        use evertask::storage::MySql;

        let url = server.url();
        measure("MariaDB", scale, &url, async || Ok(MySql::connect(&url).await?)).await?;
    }
    let _ = scale;
    Ok(())
}

/// How many schedules are stored, and how many tasks run beside them.
#[derive(Debug, Clone, Copy)]
struct Scale {
    count: usize,
    tasks: usize,
}

async fn measure<S: Storage + Inspect + Clone>(
    name: &str,
    Scale { count, tasks }: Scale,
    url: &str,
    open: impl AsyncFn() -> Outcome<S>,
) -> Outcome<()> {
    let storage = open().await?;
    let row = fill(&storage, count).await?;
    let none = median(101, async || look(&storage).await).await?;
    make_due(&storage, &row, 0..1).await?;
    let one = median(101, async || look(&storage).await).await?;
    make_due(&storage, &row, 1..DUE).await?;
    let many = median(101, async || look(&storage).await).await?;
    let due = look(&storage).await?.due;
    assert_eq!(due.len(), DUE, "they have come up, and no other has");
    let start = Instant::now();
    storage.change_schedules(take(due)).await?;
    let taken = start.elapsed();
    drop(storage);

    let mut node = Command::new(std::env::current_exe()?);
    let node = node.args(["node", url, &tasks.to_string()]);
    let node = String::from_utf8(node.output()?.stdout)?;
    println!(
        "| {name} | {count} | {none:.0?} | {one:.0?} | {many:.0?} | {taken:.1?} | {} |",
        node.trim()
    );
    Ok(())
}

/// A node, which is a process of its own, runs so many tasks; prints how fast that was, and how much memory it has in use.
async fn run_node(url: &str, tasks: usize) -> Outcome<()> {
    let runtime = Runtime::builder().url(url).discover(false).handler::<note>().start().await?;
    let start = Instant::now();
    let all = evertask::dispatch_all((0..tasks).map(|_| note::new())).on(&runtime).await?;
    for task in all.iter().rev() {
        task.output().await?;
    }
    let rate = tasks as f64 / start.elapsed().as_secs_f64();
    println!("{rate:.0} | {:.0} MiB", resident());
    Ok(runtime.shutdown().await?)
}

/// Schedules that come up within a day, but not in the next hour; returns what is stored of one.
async fn fill<S: Storage + Inspect + Clone>(storage: &S, count: usize) -> Outcome<ScheduleRow> {
    let client = Runtime::builder().storage(storage.clone()).discover(false).handler::<note>();
    let client = client.client().await?;
    note::dispatch().every(every_hour()).key("first").on(&client).await?;
    let (name, key) = ("note".to_owned(), "first".to_owned());
    let first = storage.schedule(name, key).await?.ok_or("it is stored")?;
    storage.change_schedules(vec![ScheduleChange::remove(&first)]).await?;
    let begin = SystemTime::now() + Duration::from_secs(3_600);
    let step = Duration::from_secs(82_800) / u32::try_from(count.max(1))?;
    let row = |n: usize| {
        let next = Some(begin + step * u32::try_from(n).unwrap_or_default());
        ScheduleRow { key: key_of(n), next, ..first.row.clone() }
    };
    for from in (0..count).step_by(1_000) {
        let batch = from..count.min(from + 1_000);
        let changes = batch.map(|n| ScheduleChange::to(None, row(n))).collect();
        storage.change_schedules(changes).await?;
    }
    client.shutdown().await?;
    Ok(first.row)
}

fn key_of(n: usize) -> Arc<str> {
    format!("{n:07}").into()
}

async fn look(storage: &impl Storage) -> Outcome<DueSchedules> {
    let known: Arc<[Known]> = [Known { name: "note".into(), version: 1 }].into();
    Ok(storage.due_schedules(known, 1, DUE).await?)
}

/// More of them, which have come up.
async fn make_due(storage: &impl Storage, row: &ScheduleRow, which: Range<usize>) -> Outcome<()> {
    let next = Some(SystemTime::now() - Duration::from_secs(1));
    let due = |n: usize| ScheduleRow { key: format!("due {n}").into(), next, ..row.clone() };
    let changes = which.map(|n| ScheduleChange::to(None, due(n))).collect();
    storage.change_schedules(changes).await?;
    Ok(())
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
