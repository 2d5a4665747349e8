//! Real processes, really killed: nothing stored is lost, nothing finishes twice, nothing runs after it was known to be done.

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use evertask::{
    AttemptEnd, Context, EventKind, EventStream, Page, Retention, Runtime, TaskFilter, TaskId,
    TaskInfo, TaskState,
    storage::{Inspect, Sqlite},
};

const DIRECTORY: &str = "EVERTASK_SURVIVE_DIRECTORY";
const UP_TO: &str = "EVERTASK_SURVIVE_UP_TO";
/// How many processes are killed.
const KILLS: usize = 40;
/// How many more tasks each of them may store.
const EACH: usize = 130;

/// Says a line that outlives the process: once written to the pipe it is the reader's.
fn say(line: &str) {
    if std::env::var_os(DIRECTORY).is_none() {
        return; // The process that outlives the others is the one that reads.
    }
    let mut stdout = std::io::stdout().lock();
    let _reader_gone = writeln!(stdout, "@{line}").and_then(|()| stdout.flush());
}

#[evertask::handler(retries = 5, backoff = "fixed(10ms)")]
async fn work(kind: String, ctx: Context) -> Result<(), String> {
    say(&format!("begin {}", ctx.id()));
    match kind.as_str() {
        "flaky" if ctx.attempt() == 1 => Err("the first time".into()),
        "slow" => {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn start(directory: &Path) -> Runtime {
    let storage = Sqlite::open(directory.join("tasks.db")).await.unwrap();
    let builder = Runtime::builder().storage(storage).discover(false).handler::<work>();
    builder.retention(Retention::forever()).concurrency(8).start().await.unwrap()
}

/// Not a test by itself: the process that is killed. Does nothing unless told where.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let up_to: usize = std::env::var(UP_TO).unwrap().parse().unwrap();
    say("alive");
    let runtime = start(&directory).await;
    say("started");
    tokio::spawn(tell_completed(runtime.events()));
    let stored = count(&directory).await;
    let mut dispatchers = tokio::task::JoinSet::new();
    for n in 0..8 {
        let share = (up_to.saturating_sub(stored) + n) / 8;
        let runtime = runtime.clone();
        dispatchers.spawn(async move {
            for m in 0..share {
                let kind = ["quick", "flaky", "slow", "quick"][(m + n) % 4];
                let task = work::dispatch(kind).on(&runtime).await.unwrap();
                say(&format!("stored {}", task.id()));
            }
        });
    }
    dispatchers.join_all().await;
    let storage = Sqlite::open(directory.join("tasks.db")).await.unwrap();
    crate::until(async || all_ended(&storage).await).await;
    say("idle");
    std::future::pending::<()>().await;
}

async fn tell_completed(mut events: EventStream) {
    while let Some(event) = events.next().await {
        if event.kind == EventKind::Completed {
            say(&format!("done {}", event.id));
        }
    }
}

async fn all_ended(storage: &Sqlite) -> bool {
    storage.counts().await.unwrap().iter().all(|count| count.state.is_final())
}

async fn count(directory: &Path) -> usize {
    let storage = Sqlite::open(directory.join("tasks.db")).await.unwrap();
    storage.counts().await.unwrap().iter().map(|count| count.tasks as usize).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_killed_at_random_lose_nothing_and_finish_nothing_twice() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(seed());
    let mut lines = Vec::new();
    for kill in 0..KILLS {
        // Every fourth dies while it starts, some of them before they have opened the file.
        let after = if kill % 4 == 0 { random.usize(0..3) } else { random.usize(2..500) };
        lines.extend(live_and_die(directory.path(), (kill + 1) * EACH, after));
    }
    // One that lives, in this process: it takes over at once and finishes everything.
    let runtime = start(directory.path()).await;
    let total = KILLS * EACH;
    while count(directory.path()).await < total {
        let task = work::dispatch("quick").on(&runtime).await.unwrap();
        lines.push(format!("stored {}", task.id()));
    }
    let storage = Sqlite::open(directory.path().join("tasks.db")).await.unwrap();
    crate::until(async || all_ended(&storage).await).await;
    let tasks = all(&storage).await;
    runtime.shutdown().await.unwrap();
    check(&lines, &tasks);
}

/// Starts a process, reads what it says and kills it after so many lines.
fn live_and_die(directory: &Path, up_to: usize, after: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["survive::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(UP_TO, up_to.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    // One with nothing left to do says no more, however long one listens.
    let busy = |line: &String| !line.ends_with("@idle");
    let mut lines: Vec<_> = said.by_ref().take_while(busy).take(after).collect();
    child.kill().unwrap();
    // What it had said before it died is still in the pipe.
    lines.extend(said);
    child.wait().unwrap();
    lines.into_iter().filter_map(|line| Some(line[line.find('@')? + 1..].to_owned())).collect()
}

async fn all(storage: &Sqlite) -> HashMap<TaskId, TaskInfo> {
    let mut tasks = HashMap::new();
    let mut page = Page { before: None, limit: 1000 };
    loop {
        let found = storage.tasks(TaskFilter::default(), page).await.unwrap();
        let Some(last) = found.last() else { return tasks };
        page.before = Some(last.id);
        for task in found {
            let whole = storage.task(task.id).await.unwrap().unwrap();
            tasks.insert(task.id, whole);
        }
    }
}

fn check(lines: &[String], tasks: &HashMap<TaskId, TaskInfo>) {
    let (mut begun, mut done, mut stored) = (HashMap::<TaskId, usize>::new(), HashSet::new(), 0);
    for line in lines {
        // The last line of a killed process may be cut.
        let Some((word, Ok(id))) =
            line.split_once(' ').map(|(word, id)| (word, id.parse::<TaskId>()))
        else {
            continue;
        };
        match word {
            "stored" => {
                stored += 1;
                assert!(tasks.contains_key(&id), "task {id} was acknowledged and is lost");
            }
            "begin" => {
                assert!(
                    !done.contains(&id),
                    "task {id} ran again after its completion was acknowledged"
                );
                *begun.entry(id).or_default() += 1;
            }
            "done" => assert!(done.insert(id), "task {id} finished twice"),
            _ => {}
        }
    }
    let mut lost = 0;
    for (id, task) in tasks {
        assert_eq!(task.state, TaskState::Completed, "{task:?}");
        // Every attempt that said it began is either the one that completed or written down.
        let written = task.attempts.len() + 1;
        let began = begun.get(id).copied().unwrap_or(0);
        assert!(
            began <= written,
            "task {id} began {began} times, {written} are written down: {task:?}"
        );
        lost += task.attempts.iter().filter(|attempt| attempt.end == AttemptEnd::Lost).count();
    }
    assert!(tasks.len() >= 5000, "{} tasks", tasks.len());
    println!(
        "{KILLS} kills, {} tasks, {stored} acknowledged, {lost} attempts lost and made again",
        tasks.len()
    );
    assert!(lost > 0, "the kills never hit anything");
}

/// Another one each time, and printed, so that a failure can be repeated: EVERTASK_SEED=….
fn seed() -> u64 {
    let seed = std::env::var("EVERTASK_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("EVERTASK_SEED={seed}");
    seed
}
