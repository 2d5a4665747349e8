//! A handler that blocks its executor for longer than a lease keeps its task, and is named.

use std::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    time::Instant,
};

use evertask::{EventKind, Runtime, State, TaskState};

use crate::{LEASE, on_every_server, server::Server, until};

on_every_server!(who_blocks_the_executor_for_longer_than_a_lease_keeps_its_tasks_and_is_named);

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
fn node(url: &str, gate: Gate) -> (tokio::runtime::Runtime, Runtime) {
    let mut executor = tokio::runtime::Builder::new_multi_thread();
    let executor = executor.worker_threads(1).enable_all().build().unwrap();
    let node = executor.block_on(builder(url).state(gate).start()).unwrap();
    (executor, node)
}

async fn who_blocks_the_executor_for_longer_than_a_lease_keeps_its_tasks_and_is_named(
    server: Arc<impl Server>,
) {
    let (open, gate): (Sender<()>, _) = channel();
    let url = server.url();
    let (executor, blocked) = {
        let url = url.clone();
        let start = move || node(&url, Arc::new(Mutex::new(gate)));
        tokio::task::spawn_blocking(start).await.unwrap()
    };
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
    let (_, open_gate) = channel();
    let other = builder(&url).state(Arc::new(Mutex::new(open_gate)) as Gate);
    let other = other.start().await.unwrap();
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
