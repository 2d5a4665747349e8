//! An outage under pressure: hundreds who dispatch, and all slots full of runs whose ends cannot be stored. What waits for the
//! database meanwhile is as much as there are dispatchers and slots, however long it lasts.

use std::{
    collections::HashMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use evertask::{Context, Page, Retention, Runtime, State, TaskFilter, TaskId, TaskInfo, TaskState};

use crate::{
    LEASE,
    journal::{self, Journal},
    on_every_server,
    process::{self, Process},
    server::Server,
    until,
    wire::{Weather, Wire},
};

on_every_server!(who_is_under_pressure_in_an_outage_does_not_grow_and_loses_nothing);

/// How many dispatch at the same time, each the next as soon as the one before is stored or given up.
const DISPATCHERS: usize = 400;
const SLOTS: usize = 200;
/// So much that it shows what piles up.
const PAYLOAD: usize = 8 * 1024;
/// How long a dispatch is tried.
const PATIENCE: Duration = Duration::from_secs(2);
/// By when each of the dispatchers has given up and begun anew.
const EARLY: Duration = Duration::from_secs(6);
/// By when each has done so several times more.
const OUTAGE: Duration = Duration::from_secs(16);

#[evertask::handler(retries = 0)]
async fn pressed(bulk: String, journal: State<Journal>, ctx: Context) -> usize {
    // So long that more comes than there are slots for.
    tokio::time::sleep(Duration::from_millis(600)).await;
    journal.say(&format!("ran {}", ctx.id()));
    bulk.len()
}

fn builder(url: &str, journal: &Journal) -> evertask::Builder {
    let builder = Runtime::builder().url(url).discover(false).lease(LEASE);
    let builder = builder.handler::<pressed>().state(journal.clone()).concurrency(SLOTS);
    builder.retention(Retention::forever()).dispatch_timeout(PATIENCE)
}

/// Not a test by itself: the process under pressure. Does nothing unless told where.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pressurised() {
    let Some((url, directory)) = process::told() else { return };
    let journal = Journal::open(&directory);
    let node = builder(&url, &journal).start().await.unwrap();
    for _ in 0..DISPATCHERS {
        let (node, journal, drain) = (node.clone(), journal.clone(), directory.join("drain"));
        tokio::spawn(async move {
            while !drain.exists() {
                match pressed::dispatch("x".repeat(PAYLOAD)).on(&node).await {
                    Ok(task) => journal.say(&format!("stored {}", task.id())),
                    Err(_) => journal.say("unstored"),
                }
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
            journal.say("drained");
        });
    }
    process::orphaned().await;
}

fn count(directory: &Path, what: &str) -> usize {
    journal::read(directory).iter().filter(|(_, line)| line.starts_with(what)).count()
}

/// The tasks that the journal says this of.
fn said_of(directory: &Path, what: &str) -> Vec<TaskId> {
    let lines = journal::read(directory);
    let ids = lines.iter().filter_map(|(_, line)| line.strip_prefix(what)?.trim().parse().ok());
    ids.collect()
}

async fn all(client: &Runtime, state: Option<TaskState>) -> HashMap<TaskId, TaskInfo> {
    let (mut tasks, mut page) = (HashMap::new(), Page { before: None, limit: 1_000 });
    let mut filter = TaskFilter::default();
    filter.state = state;
    loop {
        let found = client.tasks(filter.clone(), page).await.unwrap();
        let Some(last) = found.last() else { return tasks };
        page.before = Some(last.id);
        tasks.extend(found.into_iter().map(|task| (task.id, task)));
    }
}

async fn who_is_under_pressure_in_an_outage_does_not_grow_and_loses_nothing(
    server: Arc<impl Server>,
) {
    let (place, wire) = (tempfile::tempdir().unwrap(), Wire::to(server.target()));
    let directory = place.path();
    let client = builder(&server.url(), &Journal::open(directory)).client().await.unwrap();
    let url = server.url_at(wire.port());
    let node = Process::spawn("pressure::pressurised", &url, directory);
    until("all dispatch and all slots are busy", async || {
        count(directory, "stored") > 4 * DISPATCHERS && count(directory, "ran") > 2 * SLOTS
    })
    .await;
    let before = node.memory();
    wire.set(Weather::Refusing);
    wire.cut();
    let start = Instant::now();
    tokio::time::sleep(EARLY).await;
    let early = node.memory();
    // What has run, and storage does not know that it has ended.
    let running = all(&client, Some(TaskState::Running)).await;
    let unstored = said_of(directory, "ran").iter().filter(|id| running.contains_key(id)).count();
    tokio::time::sleep(OUTAGE.saturating_sub(start.elapsed())).await;
    let given_up = count(directory, "unstored");
    let late = node.memory();
    wire.set(Weather::Clear);
    std::fs::write(directory.join("drain"), "").unwrap();
    until("all have done", async || count(directory, "drained") == DISPATCHERS).await;
    let live = [TaskState::Pending, TaskState::Running];
    until("everything has ended", async || {
        for state in live {
            let mut filter = TaskFilter::default();
            filter.state = Some(state);
            if !client.tasks(filter, Page { before: None, limit: 1 }).await.unwrap().is_empty() {
                return false;
            }
        }
        true
    })
    .await;
    println!(
        "{unstored} ends and {DISPATCHERS} dispatches wait, {given_up} were given up; {before} KiB before, {early} after {EARLY:?}, \
         {late} after {OUTAGE:?}"
    );
    let tasks = all(&client, None).await;
    for id in said_of(directory, "stored") {
        let task = tasks.get(&id).unwrap_or_else(|| panic!("task {id} was stored and is lost"));
        assert_eq!(task.state, TaskState::Completed, "{task:?}");
    }
    assert!(unstored >= SLOTS / 2, "ends of runs waited to be stored: {unstored}");
    assert!(given_up >= 4 * DISPATCHERS, "they have given up again and again: {given_up}");
    // All that waits, a few times over: as JSON, as a row, in the buffers of a connection.
    let most = ((DISPATCHERS + 2 * SLOTS) * PAYLOAD * 5 / 1024) as u64;
    assert!(late.saturating_sub(before) < most, "grown from {before} to {late} KiB");
    // What is left of each round of dispatches would be several times as much by now.
    let turn = (DISPATCHERS * PAYLOAD / 1024) as u64;
    assert!(late.saturating_sub(early) < turn, "still grows: {early} to {late} KiB");
}
