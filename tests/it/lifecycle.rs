//! Start, shutdown, restart: what a node takes up and what it leaves behind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use evertask::{
    AttemptEnd, Context, DispatchError, EventKind, Retention, Runtime, StartError, State, TaskId,
    TaskState,
    storage::{Claim, Inspect, Known, Life, Memory, Node, NodeId, Settlement, Storage},
    verdict::Verdict,
};

use crate::{
    faulty::{Fault, Faulty},
    log::Log,
};

const SECOND: Duration = Duration::from_secs(1);

#[evertask::handler]
async fn pause(seconds: u64, log: State<Log>) {
    log.add("begun");
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    log.add("done");
}

#[evertask::handler]
async fn polite(log: State<Log>, ctx: Context) -> Result<(), String> {
    log.add("begun");
    ctx.cancelled().await;
    log.add("told");
    Err("gave up".into())
}

async fn node(storage: &(impl Storage + Inspect + Clone), log: &Log) -> Runtime {
    let builder = Runtime::builder().storage(storage.clone()).discover(false).state(log.clone());
    builder.handler::<pause>().handler::<polite>().concurrency(2).start().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_what_runs_and_leaves_the_rest_in_its_place() {
    let (memory, log) = (Memory::new(), Log::default());
    let runtime = node(&memory, &log).await;
    let mut tasks = Vec::new();
    for _ in 0..3 {
        tasks.push(pause::dispatch(5).on(&runtime).await.unwrap());
    }
    crate::until(async || log.len() == 2).await;
    let due = memory.task(tasks[2].id()).await.unwrap().unwrap().due;
    runtime.shutdown().await.unwrap();
    assert_eq!(log.taken(), ["begun", "begun", "done", "done"]);
    let states = [0, 1, 2].map(|n| tasks[n].id());
    for (id, state) in
        states.into_iter().zip([TaskState::Completed, TaskState::Completed, TaskState::Pending])
    {
        assert_eq!(memory.task(id).await.unwrap().unwrap().state, state);
    }
    let waiting = memory.task(tasks[2].id()).await.unwrap().unwrap();
    assert_eq!((waiting.due, waiting.attempt, waiting.attempts.len()), (due, 0, 0));
    let refused = pause::dispatch(1).on(&runtime).await.unwrap_err();
    assert!(matches!(refused, DispatchError::ShutDown), "{refused}");
    runtime.shutdown().await.expect("a second shutdown has nothing to do");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_in_time_is_interrupted_and_spends_no_attempt() {
    let (memory, log) = (Memory::new(), Log::default());
    let runtime = node(&memory, &log).await;
    let long = pause::dispatch(3600).on(&runtime).await.unwrap();
    let told = polite::dispatch().on(&runtime).await.unwrap();
    crate::until(async || log.len() == 2).await;
    let start = tokio::time::Instant::now();
    runtime.shutdown().await.unwrap();
    assert!(
        start.elapsed() >= 20 * SECOND && start.elapsed() < 23 * SECOND,
        "{:?}",
        start.elapsed()
    );
    for id in [long.id(), told.id()] {
        let info = memory.task(id).await.unwrap().unwrap();
        assert_eq!((info.state, info.attempt, info.losses), (TaskState::Pending, 0, 0));
        assert_eq!(
            info.attempts[0].end,
            AttemptEnd::Interrupted,
            "even where the handler then returned an error"
        );
    }
    assert_eq!(log.taken(), ["begun", "begun", "told"]);
    let again = node(&memory, &log).await;
    crate::until(async || log.len() == 5).await;
    assert_eq!(again.task(long.id()).await.unwrap().unwrap().attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_runtime_shuts_it_down() {
    let (memory, log) = (Memory::new(), Log::default());
    let runtime = node(&memory, &log).await;
    let clone = runtime.clone();
    let task = pause::dispatch(5).on(&runtime).await.unwrap();
    crate::until(async || log.len() == 1).await;
    drop(runtime);
    tokio::time::sleep(SECOND).await;
    let second = pause::dispatch(0).on(&clone).await.unwrap();
    second.output().await.unwrap();
    drop(clone);
    let gone = async || {
        memory.peers(NodeId::nil()).await.unwrap().iter().all(|peer| peer.life == Life::Dead)
    };
    crate::until(gone).await;
    crate::until(async || {
        memory.task(task.id()).await.unwrap().unwrap().state == TaskState::Completed
    })
    .await;
}

/// A task claimed by a node that is never heard of again.
async fn held_by_a_dead_one(storage: &(impl Storage + Inspect + Clone)) -> TaskId {
    let client = Runtime::builder().storage(storage.clone()).discover(false).handler::<pause>();
    let client = client.client().await.unwrap();
    let task = pause::dispatch(0).on(&client).await.unwrap();
    let known = [Known { name: "pause".into(), version: 1 }].into();
    let dead = Node::new(known, vec!["default".into()]);
    storage.join(dead.clone()).await.unwrap();
    let claim = Claim::new(1, dead.id, dead.handlers.clone(), 1).queue("default", 1, 0);
    assert_eq!(storage.claim(claim).await.unwrap().tasks.len(), 1);
    task.id()
}

#[tokio::test(start_paused = true)]
async fn a_node_takes_over_what_a_dead_one_held_after_a_lease_and_not_before() {
    let (memory, log) = (Memory::new(), Log::default());
    let id = held_by_a_dead_one(&memory).await;
    let start = tokio::time::Instant::now();
    let runtime = node(&memory, &log).await;
    let mut events = runtime.events();
    crate::until(async || memory.task(id).await.unwrap().unwrap().state == TaskState::Completed)
        .await;
    let took = start.elapsed();
    assert!(took > 15 * SECOND && took < 20 * SECOND, "{took:?}");
    let info = memory.task(id).await.unwrap().unwrap();
    assert_eq!((info.losses, info.attempt, info.lease), (1, 1, 3));
    assert_eq!(info.attempts[0].end, AttemptEnd::Lost);
    let first = events.next().await.unwrap();
    assert_eq!((first.kind, first.id), (EventKind::Rescued, id));
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_taken_over_is_tried_again_at_once() {
    let tries = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&tries);
    let storage = Faulty::when(move |name, _| {
        (name == "seize" && count.fetch_add(1, Ordering::SeqCst) < 2).then_some(Fault::Fails)
    });
    let id = held_by_a_dead_one(&storage).await;
    let start = tokio::time::Instant::now();
    let _runtime = node(&storage, &Log::default()).await;
    crate::until(async || storage.task(id).await.unwrap().unwrap().state == TaskState::Completed)
        .await;
    let took = start.elapsed();
    assert!(took > 15 * SECOND && took < 16 * SECOND, "{took:?}");
    assert_eq!(
        tries.load(Ordering::SeqCst),
        4,
        "two in vain, one that takes, one that finds no more"
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_that_kills_its_node_again_and_again_is_quarantined_and_bystanders_are_not() {
    let (memory, log) = (Memory::new(), Log::default());
    let client = Runtime::builder()
        .storage(memory.clone())
        .discover(false)
        .handler::<pause>()
        .handler::<polite>();
    let client = client.client().await.unwrap();
    let poison = pause::dispatch(0).on(&client).await.unwrap();
    let bystander = polite::dispatch().on(&client).await.unwrap();
    let known: std::sync::Arc<[Known]> =
        ["pause", "polite"].map(|name| Known { name: name.into(), version: 1 }).into();
    let mut deaths = 0;
    // Nodes that die as soon as they run the poison.
    while memory.task(poison.id()).await.unwrap().unwrap().state != TaskState::Failed {
        deaths += 1;
        assert!(deaths < 20, "never quarantined");
        let node = Node::new(known.clone(), vec!["default".into()]);
        memory.join(node.clone()).await.unwrap();
        let mut claim = Claim::new(1, node.id, known.clone(), 2).queue("default", 2, 0);
        claim.suspect = deaths > 2;
        let claimed = memory.claim(claim).await.unwrap();
        assert_eq!(claimed.tasks.len(), if deaths > 2 { 1 } else { 2 }, "suspects run alone");
        memory.leave(node.id).await.unwrap();
        // Somebody who rescues and cannot run either of them.
        let other =
            Runtime::builder().storage(memory.clone()).discover(false).start().await.unwrap();
        crate::until(async || {
            memory.task(poison.id()).await.unwrap().unwrap().state != TaskState::Running
        })
        .await;
        other.shutdown().await.unwrap();
        if deaths > 2 && claimed.tasks[0].id == bystander.id() {
            panic!("the bystander is younger: the poison goes first");
        }
    }
    assert_eq!(deaths, 2 + 5);
    let info = memory.task(poison.id()).await.unwrap().unwrap();
    assert!(
        info.error
            .unwrap()
            .contains("its node died while it ran and nothing else did, for the 5th time")
    );
    let info = memory.task(bystander.id()).await.unwrap().unwrap();
    assert_eq!((info.state, info.losses), (TaskState::Pending, 2));
    let runtime = node(&memory, &log).await;
    crate::until(async || log.len() == 1).await;
    assert_eq!(
        runtime.task(bystander.id()).await.unwrap().unwrap().state,
        TaskState::Running,
        "it runs, as a suspect"
    );
}

#[tokio::test]
async fn with_several_runtimes_a_dispatch_wants_to_be_told_which_and_with_none_that_there_is_none()
{
    let log = Log::default();
    let none = pause::dispatch(0).await;
    // Other tests run on tokio runtimes of their own, so only "some elsewhere" can differ here.
    assert!(!matches!(none, Err(DispatchError::ShutDown)));
    let (_one, two) = (node(&Memory::new(), &log).await, node(&Memory::new(), &log).await);
    let error = pause::dispatch(0).await.unwrap_err();
    assert!(matches!(error, DispatchError::AmbiguousRuntime), "{error}");
    pause::dispatch(0).on(&two).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn events_tell_a_tasks_life_in_order_and_end_with_the_runtime() {
    fn is_a_stream(_: &(impl futures_core::Stream<Item = evertask::Event> + Send + 'static)) {}
    let (memory, log) = (Memory::new(), Log::default());
    let runtime = node(&memory, &log).await;
    let mut events = runtime.events();
    is_a_stream(&events);
    let task = pause::dispatch(1).on(&runtime).await.unwrap();
    task.output().await.unwrap();
    runtime.shutdown().await.unwrap();
    let mut kinds = Vec::new();
    while let Some(event) = events.next().await {
        assert_eq!((event.id, &*event.name, &*event.queue), (task.id(), "pause", "default"));
        kinds.push(event.kind);
    }
    kinds.sort_by_key(|kind| format!("{kind:?}"));
    assert_eq!(kinds, [EventKind::Completed, EventKind::Dispatched, EventKind::Started]);
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_is_too_slow_is_told_how_much_it_missed() {
    let runtime = node(&Memory::new(), &Log::default()).await;
    let mut events = runtime.events();
    let tasks = (0..5000).map(|_| pause::new(0));
    evertask::dispatch_all(tasks).after(60 * SECOND).on(&runtime).await.unwrap();
    let mut next = async || events.next().await.unwrap().kind;
    assert_eq!(next().await, EventKind::Missed(5000 - 4096));
    assert_eq!(next().await, EventKind::Dispatched);
}

#[tokio::test(start_paused = true)]
async fn health_names_what_is_due_and_nobody_here_can_run() {
    let (memory, log) = (Memory::new(), Log::default());
    let runtime = node(&memory, &log).await;
    pause::dispatch(0).queue("elsewhere").on(&runtime).await.unwrap();
    tokio::time::sleep(60 * SECOND).await;
    let health = runtime.health().await;
    assert!(health.ok && health.due.is_empty());
    assert_eq!(health.unserved.len(), 1);
    assert_eq!((health.unserved[0].queue.as_str(), health.unserved[0].due), ("elsewhere", 1));
    assert!(health.unserved[0].oldest >= 60 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn ended_tasks_are_deleted_when_their_time_is_over() {
    let (memory, log) = (Memory::new(), Log::default());
    let hours = |n: u64| Duration::from_secs(n * 3600);
    let builder = || Runtime::builder().storage(memory.clone()).discover(false).state(log.clone());
    let retention = Retention::default().completed(hours(2));
    let runtime = builder().handler::<pause>().retention(retention).start().await.unwrap();
    let task = pause::dispatch(0).on(&runtime).await.unwrap();
    task.output().await.unwrap();
    let waiting = pause::dispatch(0).after(hours(100)).on(&runtime).await.unwrap();
    tokio::time::sleep(hours(1)).await;
    assert!(task.info().await.unwrap().is_some());
    tokio::time::sleep(hours(3)).await;
    assert!(task.info().await.unwrap().is_none(), "two hours are over");
    assert!(waiting.info().await.unwrap().is_some(), "what is alive stays");
    runtime.shutdown().await.unwrap();

    let ephemeral = builder().handler::<pause>().retention(Retention::default().ephemeral());
    let runtime = ephemeral.start().await.unwrap();
    let task = pause::dispatch(0).on(&runtime).await.unwrap();
    crate::until(async || log.len() == 4).await;
    crate::until(async || task.info().await.unwrap().is_none()).await;
}

#[test]
fn a_handler_that_blocks_the_executor_is_named_and_after_a_limit_its_node_given_up() {
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let tokio =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let blocked = std::sync::Mutex::new(blocked);
    let memory = Memory::new();
    let runtime = tokio.block_on(async {
        let builder = Runtime::builder().storage(memory.clone()).discover(false);
        let builder = builder.handler::<block>().stall_limit(3 * SECOND);
        let runtime = builder.state(blocked).start().await.unwrap();
        block::dispatch().on(&runtime).await.unwrap();
        runtime
    });
    // The only worker thread is blocked, so nothing in there can tell the time: it is looked at from here.
    let health = || tokio.block_on(runtime.health());
    while health().stalled.is_none() {
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let stall = health().stalled.unwrap();
    assert_eq!(stall.handlers.iter().map(|name| &**name).collect::<Vec<_>>(), ["block"]);
    assert!(stall.since >= SECOND && !health().ok);
    // After the limit it counts as dead, so that others may take its tasks, until it moves again.
    let is_dead = || {
        let peers = tokio.block_on(memory.peers(NodeId::nil())).unwrap();
        peers.iter().any(|peer| peer.life == Life::Dead)
    };
    while !is_dead() {
        std::thread::park_timeout(Duration::from_millis(10));
    }
    assert!(health().stalled.unwrap().since >= 3 * SECOND);
    release.send(()).unwrap();
    while health().stalled.is_some() || is_dead() {
        std::thread::park_timeout(Duration::from_millis(10));
    }
    tokio.block_on(runtime.shutdown()).unwrap();
}

/// The first time it takes nearly all of the grace to end once it is told to.
#[evertask::handler]
async fn linger(log: State<Log>, ctx: Context) {
    log.add("begun");
    if log.len() == 1 {
        ctx.cancelled().await;
        tokio::time::sleep(SECOND * 9 / 10).await;
        log.add("gone");
    }
}

/// Found by the simulator: taken away by another node, given back, and claimed again while the first run was still on its
/// way out.
#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_a_run_whose_task_has_come_back_under_a_newer_lease() {
    let (memory, log) = (Memory::new(), Log::default());
    let builder = Runtime::builder().storage(memory.clone()).discover(false).state(log.clone());
    let runtime = builder.handler::<linger>().concurrency(2).start().await.unwrap();
    let task = linger::dispatch().on(&runtime).await.unwrap();
    crate::until(async || log.len() == 1).await;
    let by = NodeId::now_v7();
    let seen = memory.peers(by).await.unwrap()[0];
    let lost = memory.seize(seen, by, 1).await.unwrap().remove(0);
    let rescue = Verdict::Rescue { started: true, alone: false };
    memory.settle(vec![Settlement::new(lost.id, lost.lease, rescue)]).await.unwrap();
    task.output().await.unwrap();
    runtime.shutdown().await.unwrap();
    assert_eq!(log.taken(), ["begun", "begun", "gone"]);
}

#[evertask::handler]
async fn block(gate: State<std::sync::Mutex<std::sync::mpsc::Receiver<()>>>) {
    gate.lock().unwrap().recv().unwrap();
}

#[test]
fn an_executor_that_is_dropped_leaves_its_tasks_to_others_and_lets_go_of_the_storage() {
    let executor = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (memory, log) = (Memory::new(), Log::default());
    let first = executor();
    let canary = std::sync::Arc::new(());
    let (runtime, task) = first.block_on(async {
        let builder = Runtime::builder().storage(memory.clone()).discover(false);
        let builder = builder.handler::<polite>().state(log.clone()).state(canary.clone());
        let runtime = builder.start().await.unwrap();
        let task = polite::dispatch().on(&runtime).await.unwrap().id();
        crate::until(async || log.len() == 1).await;
        (runtime, task)
    });
    drop(first);
    executor().block_on(async {
        let is_dead = async || {
            let peers = memory.peers(NodeId::nil()).await.unwrap();
            peers.iter().any(|peer| peer.life == Life::Dead)
        };
        crate::until(is_dead).await;
        crate::until(async || polite::dispatch().on(&runtime).await.is_err()).await;
        let again = node(&memory, &log).await;
        crate::until(async || log.len() == 2).await;
        again.cancel(task).await.unwrap();
        again.shutdown().await.unwrap();
    });
    assert_eq!(log.taken(), ["begun", "begun", "told"]);
    // Neither what was cut off nor the thread that watched keeps hold of the runtime.
    drop(runtime);
    while std::sync::Arc::strong_count(&canary) > 1 {
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_never_answered_says_so() {
    let silent = Faulty::when(|name, _| (name == "join").then_some(Fault::Stalls));
    let builder = Runtime::builder().storage(silent).discover(false).handler::<polite>();
    let started = builder.state(Log::default()).start();
    let started = tokio::time::timeout(60 * SECOND, started).await.expect("it ends by itself");
    let error = started.expect_err("nothing has answered");
    assert!(matches!(error, StartError::NoAnswer { .. }), "{error}");
    assert!(error.to_string().contains("within 30s"), "{error}");
}
