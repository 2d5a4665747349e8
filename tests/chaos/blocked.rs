//! A handler that blocks its executor for longer than a lease keeps its task, and is named; but not for ever, and not for good.

use std::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

use evertask::{EventKind, Runtime, State, TaskState};

use crate::{LEASE, on_every_server, server::Server, until};

on_every_server!(
    who_blocks_the_executor_for_longer_than_a_lease_keeps_its_tasks_and_is_named,
    who_has_given_up_lives_again_once_it_moves,
);

/// How long an executor may stand still where it is to be given up: many leases.
const STALL_LIMIT: Duration = Duration::from_secs(15);

/// What the handler waits for, and its executor with it.
type Gate = Arc<Mutex<Receiver<()>>>;

#[evertask::handler]
async fn block(gate: State<Gate>) -> u32 {
    let _opened = gate.lock().unwrap().recv();
    7
}

#[evertask::handler]
async fn wait(ctx: evertask::Context) {
    ctx.cancelled().await;
}

fn builder(url: &str) -> evertask::Builder {
    let builder = Runtime::builder().url(url).discover(false).lease(LEASE);
    builder.handler::<block>().handler::<wait>()
}

/// A node on an executor with one thread of its own.
fn node(url: &str, gate: Gate, stall_limit: Duration) -> (tokio::runtime::Runtime, Runtime) {
    let mut executor = tokio::runtime::Builder::new_multi_thread();
    let executor = executor.worker_threads(1).enable_all().build().unwrap();
    let node =
        executor.block_on(builder(url).state(gate).stall_limit(stall_limit).start()).unwrap();
    (executor, node)
}

/// The same, started from an executor.
async fn node_apart(
    url: &str,
    stall_limit: Duration,
) -> (tokio::runtime::Runtime, Runtime, Sender<()>) {
    let (open, gate) = channel();
    let url = url.to_owned();
    let start = move || node(&url, Arc::new(Mutex::new(gate)), stall_limit);
    let (executor, node) = tokio::task::spawn_blocking(start).await.unwrap();
    (executor, node, open)
}

/// A node that only looks on: nothing ever ends there what blocks.
async fn onlooker(url: &str) -> Runtime {
    let (_, never) = channel();
    builder(url).state(Arc::new(Mutex::new(never)) as Gate).start().await.unwrap()
}

async fn who_blocks_the_executor_for_longer_than_a_lease_keeps_its_tasks_and_is_named(
    server: Arc<impl Server>,
) {
    let url = server.url();
    let (executor, blocked, open) = node_apart(&url, 10 * STALL_LIMIT).await;
    let client = builder(&url).client().await.unwrap();
    let mut events = blocked.events();
    let waits = wait::dispatch().on(&client).await.unwrap();
    until("a task waits", async || {
        waits.info().await.unwrap().unwrap().state == TaskState::Running
    })
    .await;
    let blocks = block::dispatch().on(&client).await.unwrap();
    until("the node says that it stands still", async || blocked.health().await.stalled.is_some())
        .await;
    // Another node watches from now on, and would take what it may.
    let start = Instant::now();
    let other = onlooker(&url).await;
    let stalled = async || blocked.health().await.stalled.expect("it still stands still");
    until("more than two leases have passed", async || {
        stalled().await.since > LEASE * 2 && start.elapsed() > LEASE * 2
    })
    .await;
    let health = blocked.health().await;
    assert!(!health.ok);
    let handlers: Vec<_> = stalled().await.handlers.iter().map(ToString::to_string).collect();
    assert_eq!(handlers, ["block"], "not the one that only waits");
    open.send(()).unwrap();
    assert_eq!(blocks.output().await.unwrap(), 7);
    for task in [blocks.id(), waits.id()] {
        let info = client.task(task).await.unwrap().unwrap();
        assert_eq!((info.lease, info.losses), (1, 0), "nobody took it: {info:?}");
    }
    let stalled = async {
        loop {
            let event = events.next().await.expect("the node lives");
            if event.kind == EventKind::Stalled {
                return event.error;
            }
        }
    };
    assert_eq!(stalled.await.as_deref(), Some("block"));
    waits.cancel().await.unwrap();
    blocked.shutdown().await.unwrap();
    other.shutdown().await.unwrap();
    drop((blocked, events));
    executor.shutdown_background();
}

/// Found by reading: the node was signed off and nobody ever announced it again.
async fn who_has_given_up_lives_again_once_it_moves(server: Arc<impl Server>) {
    let url = server.url();
    let (executor, blocked, open) = node_apart(&url, STALL_LIMIT).await;
    let client = builder(&url).client().await.unwrap();
    let lease_of = async |task: &evertask::TaskHandle<wait>| {
        let info = task.info().await.unwrap().unwrap();
        (info.state == TaskState::Running).then_some(info.lease)
    };
    let block_with_a_task = async || {
        let waits = wait::dispatch().on(&client).await.unwrap();
        until("a task waits", async || lease_of(&waits).await == Some(1)).await;
        let blocks = block::dispatch().on(&client).await.unwrap();
        until("the node stands still", async || blocked.health().await.stalled.is_some()).await;
        (waits, blocks)
    };
    let (waits, blocks) = block_with_a_task().await;
    let other = onlooker(&url).await;
    until("another node has taken what it held", async || lease_of(&waits).await > Some(1)).await;
    let stood = blocked.health().await.stalled.expect("it still stands still").since;
    assert!(stood >= STALL_LIMIT, "given up after {stood:?}");
    // The other one has what blocks as well, and waits for what never comes.
    blocks.cancel().await.unwrap();
    waits.cancel().await.unwrap();
    open.send(()).unwrap();
    until("it moves again", async || blocked.health().await.stalled.is_none()).await;
    until("nothing runs there", async || blocked.health().await.running == 0).await;
    until("the other one ends it all", async || other.health().await.running == 0).await;
    other.shutdown().await.unwrap();

    let (waits, blocks) = block_with_a_task().await;
    let start = Instant::now();
    let other = onlooker(&url).await;
    until("more than two leases have passed", async || start.elapsed() > LEASE * 2).await;
    open.send(()).unwrap();
    blocks.output().await.unwrap();
    assert_eq!(lease_of(&waits).await, Some(1), "it gives signs of life as it did before");
    waits.cancel().await.unwrap();
    blocked.shutdown().await.unwrap();
    other.shutdown().await.unwrap();
    drop(blocked);
    executor.shutdown_background();
}
