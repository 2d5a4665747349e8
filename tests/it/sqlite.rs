//! What the embedded storage adds: restarts, several processes on one file, deaths seen at once.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use evertask::{
    Cancel, Context, OutputError, Page, Runtime, TaskFilter, TaskState, storage::Sqlite,
};

#[evertask::handler]
async fn double(n: u64) -> u64 {
    2 * n
}

#[evertask::handler]
async fn hang(ctx: Context) {
    ctx.cancelled().await;
}

async fn builder(directory: &Path) -> evertask::Builder {
    let storage = Sqlite::open(directory.join("tasks.db")).await.unwrap();
    let builder = Runtime::builder().storage(storage).discover(false);
    builder.handler::<double>().handler::<hang>()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_before_a_restart_runs_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let client = builder(directory.path()).await.client().await.unwrap();
    let stored = double::dispatch(21).on(&client).await.unwrap();
    client.shutdown().await.unwrap();
    drop(client);
    let runtime = builder(directory.path()).await.start().await.unwrap();
    crate::until(async || {
        runtime.task(stored.id()).await.unwrap().unwrap().state == TaskState::Completed
    })
    .await;
    assert_eq!(
        runtime.task(stored.id()).await.unwrap().unwrap().output.unwrap().as_str(),
        Some("42")
    );
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_on_the_file_runs_what_this_one_dispatches_and_stops_what_it_cancels() {
    let directory = tempfile::tempdir().unwrap();
    let node = builder(directory.path()).await.start().await.unwrap();
    let client = builder(directory.path()).await.client().await.unwrap();
    let start = Instant::now();
    let task = double::dispatch(4).on(&client).await.unwrap();
    assert_eq!(task.output().await.unwrap(), 8);
    // One look a second on either side, jittered, and time for a loaded machine.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());

    let task = hang::dispatch().on(&client).await.unwrap();
    crate::until(async || task.info().await.unwrap().unwrap().state == TaskState::Running).await;
    assert_eq!(task.cancel().await.unwrap(), Cancel::Asked);
    assert!(matches!(task.output().await, Err(OutputError::Cancelled { .. })));
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_any_size_neither_holds_up_the_start_nor_new_tasks() {
    let directory = tempfile::tempdir().unwrap();
    let client = builder(directory.path()).await.client().await.unwrap();
    for _ in 0..3 {
        evertask::dispatch_all((0..10_000).map(double::new)).on(&client).await.unwrap();
    }
    let node = builder(directory.path()).await.start().await.unwrap();
    let urgent = double::dispatch(1).priority(1).on(&node).await.unwrap();
    assert_eq!(urgent.output().await.unwrap(), 2);
    let mut filter = TaskFilter::default();
    filter.state = Some(TaskState::Pending);
    let waiting = node.tasks(filter, Page::default()).await.unwrap();
    assert!(!waiting.is_empty(), "it was served before the backlog was done");
    node.shutdown().await.unwrap();
}

const HOLDER: &str = "EVERTASK_HOLDER_DIRECTORY";

/// Not a test by itself: a process that holds a task until it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn holder() {
    let Some(directory) = std::env::var_os(HOLDER).map(PathBuf::from) else { return };
    let _node = builder(&directory).await.start().await.unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_is_noticed_at_once_by_one_that_lives_and_by_no_lease() {
    let directory = tempfile::tempdir().unwrap();
    let client = builder(directory.path()).await.client().await.unwrap();
    let task = hang::dispatch().on(&client).await.unwrap();
    let state = async || task.info().await.unwrap().unwrap();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["sqlite::holder", "--exact", "--test-threads=1"])
        .env(HOLDER, directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    crate::until(async || state().await.state == TaskState::Running).await;
    let node = builder(directory.path()).await.start().await.unwrap();
    assert_eq!(state().await.lease, 1, "while it lives nobody takes its task");
    holder.kill().unwrap();
    holder.wait().unwrap();
    let died = Instant::now();
    crate::until(async || state().await.lease == 3 && state().await.state == TaskState::Running)
        .await;
    let took = died.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}: a lease would have been 15 s");
    assert_eq!(state().await.losses, 1);
    node.cancel(task.id()).await.unwrap();
    node.shutdown().await.unwrap();
}
