//! A storage that fails, or does its work and loses the reply, or never answers, at any one of its calls: nothing is lost, and
//! nothing runs that was not to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use evertask::{
    Cancel, Context, Dispatched, EventKind, Keep, Retention, Runtime, State, StorageErrorKind,
    TaskId, TaskState,
    storage::{
        Inspect, KeepBy, Memory, NodeId, Page, Reply, Settled, Settlement, Storage, TaskFilter,
    },
    verdict::Verdict,
};

use crate::{
    faulty::{Fault, Faulty},
    log::Log,
};

#[evertask::handler(retries = 3, backoff = "fixed(1s)")]
pub(crate) async fn step(
    name: String,
    fail_first: bool,
    log: State<Log>,
    ctx: Context,
) -> Result<String, String> {
    log.add(format!("{name}/{}", ctx.attempt()));
    if name == "parent" {
        ctx.dispatch_on_success(step::dispatch("child", false))
            .map_err(|error| error.to_string())?;
    }
    if name == "slow" {
        tokio::time::sleep(Duration::from_secs(40)).await;
    }
    if fail_first && ctx.attempt() == 1 { Err("first".into()) } else { Ok(name) }
}

/// One life of a node with a bit of everything in it. Returns how many calls it made.
async fn scenario(at: usize, fault: Fault) -> usize {
    let said = format!("{fault:?} at call {at}");
    let (log, storage) = (Log::default(), Faulty::at(at, fault));
    let builder = Runtime::builder().storage(storage.clone()).discover(false).state(log.clone());
    let runtime = builder.handler::<step>().concurrency(3).start().await.unwrap();
    // Whatever one try of it meets, the next one brings it there.
    let dispatch = async |name: &str, fail_first: bool| {
        let dispatched = step::dispatch(name, fail_first).key(name).on(&runtime).await;
        dispatched.unwrap_or_else(|error| panic!("{said}: {error}"))
    };
    let mut tasks = Vec::new();
    for (name, fail_first) in
        [("a", false), ("b", true), ("slow", false), ("parent", false), ("c", true)]
    {
        tasks.push(dispatch(name, fail_first).await);
    }
    for (task, name) in tasks.iter().zip(["a", "b", "slow", "parent", "c"]) {
        let output = tokio::time::timeout(Duration::from_secs(600), task.output()).await;
        let output = output.unwrap_or_else(|_| panic!("{said}: {name} never ended"));
        assert_eq!(output.unwrap(), name, "{said}");
    }
    let all = async || {
        storage.tasks(TaskFilter::default(), Page { before: None, limit: 100 }).await.unwrap()
    };
    crate::until(async || {
        let all = all().await;
        all.len() >= 6 && all.iter().all(|task| task.state.is_final())
    })
    .await;
    tokio::time::timeout(Duration::from_secs(600), runtime.shutdown())
        .await
        .unwrap_or_else(|_| panic!("{said}: no end"))
        // A last answer that never comes is waited for no longer than a shutdown may take.
        .or_else(|error| if fault == Fault::StallsAfter { Ok(()) } else { Err(error) })
        .unwrap_or_else(|error| panic!("{said}: {error}"));
    let mut ran = log.taken();
    ran.sort();
    let expected = ["a/1", "b/1", "b/2", "c/1", "c/2", "child/1", "parent/1", "slow/1"];
    assert_eq!(ran, expected, "{said}: each attempt once");
    let all = all().await;
    assert!(all.iter().all(|task| task.state == TaskState::Completed), "{said}: {all:?}");
    storage.calls.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn no_single_fault_at_any_call_loses_or_repeats_anything() {
    let calls = scenario(usize::MAX, Fault::Fails).await;
    assert!(calls > 20, "{calls}");
    for fault in [Fault::Fails, Fault::LosesReply, Fault::Stalls, Fault::StallsAfter] {
        // A few more than a quiet life has: what goes wrong makes calls of its own.
        for at in 0..calls + 10 {
            scenario(at, fault).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dispatch_that_is_never_answered_says_that_it_does_not_know() {
    let over = Arc::new(AtomicBool::new(false));
    let silent = Arc::clone(&over);
    let storage = Faulty::when(move |name, _| {
        (name == "enqueue" && !silent.load(Ordering::SeqCst)).then_some(Fault::StallsAfter)
    });
    let builder = Runtime::builder().storage(storage.clone()).discover(false).handler::<step>();
    let client = builder.client().await.unwrap();
    let error = step::dispatch("a", false).key("a").on(&client).await.unwrap_err();
    let evertask::DispatchError::Unknown { id, .. } = error else { panic!("{error}") };
    assert_eq!(
        client.task(id).await.unwrap().unwrap().state,
        TaskState::Pending,
        "here it was stored"
    );
    over.store(true, Ordering::SeqCst);
    let again = step::dispatch("a", false).key("a").on(&client).await.unwrap();
    assert_eq!((again.id(), again.dispatched()), (id, Dispatched::Replaced));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_an_unanswered_dispatch_does_not_say_that_nothing_was_stored() {
    let n = AtomicUsize::new(0);
    let faults = [Fault::LosesReply, Fault::Refuses(StorageErrorKind::Full)];
    let storage = Faulty::when(move |name, _| {
        let nth = || n.fetch_add(1, Ordering::SeqCst);
        if name == "enqueue" { faults.get(nth()).copied() } else { None }
    });
    let builder = Runtime::builder().storage(storage.clone()).discover(false).handler::<step>();
    let client = builder.client().await.unwrap();
    let error = step::dispatch("a", false).on(&client).await.unwrap_err();
    assert!(matches!(error, evertask::DispatchError::Unknown { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_a_claim_still_on_its_way_brings_is_not_given_back() {
    let late = |name: &str, _: &[TaskId]| (name == "claim").then_some(Fault::Late);
    let (storage, log) = (Faulty::when(late), Log::default());
    let runtime = node(&storage, &log).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let task = step::dispatch("a", false).on(&runtime).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    storage.bell().orders();
    task.output().await.unwrap();
    let info = task.info().await.unwrap().unwrap();
    assert_eq!((info.lease, log.taken()), (1, vec!["a/1".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_shuts_down_says_so_however_often_it_takes() {
    let said = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&said);
    let storage = Faulty::when(move |name, _| {
        let first = || count.fetch_add(1, Ordering::SeqCst) == 0;
        (name == "leave" && first()).then_some(Fault::Fails)
    });
    node(&storage, &Log::default()).await.shutdown().await.unwrap();
    assert_eq!(said.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn an_idle_node_asks_its_storage_nothing() {
    let mut storage = Faulty::at(usize::MAX, Fault::Fails);
    storage.beats = false;
    let builder = Runtime::builder().storage(storage.clone()).discover(false).state(Log::default());
    let runtime = builder.handler::<step>().start().await.unwrap();
    let later = Duration::from_secs(86_400);
    evertask::dispatch_all((0..1000).map(|_| step::new("later", false)))
        .after(later)
        .await
        .unwrap();
    step::dispatch("now", false).await.unwrap().output().await.unwrap();
    // What the start and these tasks made necessary is over by then, one round of pruning included.
    tokio::time::sleep(Duration::from_secs(600)).await;
    let before = storage.calls.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let looks = storage.calls.load(Ordering::SeqCst) - before;
    // Claim, renew, peers and tick look once in one to two minutes each, against hints that were missed; pruning looks rarely.
    assert!(looks <= 4 * 10 + 2, "{looks} calls in ten idle minutes");
    runtime.shutdown().await.unwrap();
}

pub(crate) async fn node(storage: &Faulty, log: &Log) -> Runtime {
    let builder = Runtime::builder().storage(storage.clone()).discover(false).state(log.clone());
    builder.handler::<step>().start().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_reply_was_lost_while_the_node_shuts_down_is_given_back_as_never_begun() {
    let fail = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fail);
    let lose = move |name: &str, _: &[TaskId]| {
        (name == "claim" && failing.swap(false, Ordering::SeqCst)).then_some(Fault::LosesReply)
    };
    let (storage, log) = (Faulty::when(lose), Log::default());
    let runtime = node(&storage, &log).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    fail.store(true, Ordering::SeqCst);
    let task = step::dispatch("a", false).on(&runtime).await.unwrap();
    crate::until(async || !fail.load(Ordering::SeqCst)).await;
    runtime.shutdown().await.unwrap();
    let info = storage.task(task.id()).await.unwrap().unwrap();
    assert_eq!((info.state, info.lease, info.losses), (TaskState::Pending, 1, 0));
    assert_eq!((info.attempts.len(), log.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_panics_is_a_storage_that_fails() {
    let left = AtomicUsize::new(1);
    let panics = move |name: &str, _: &[TaskId]| {
        let now = name == "settle" && left.swap(0, Ordering::SeqCst) > 0;
        now.then_some(Fault::Panics)
    };
    let (storage, log) = (Faulty::when(panics), Log::default());
    let runtime = node(&storage, &log).await;
    let task = step::dispatch("a", false).on(&runtime).await.unwrap();
    let output = tokio::time::timeout(Duration::from_secs(60), task.output()).await;
    assert_eq!(output.expect("its end was lost").unwrap(), "a");
    assert_eq!(log.taken(), ["a/1"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_back_before_its_last_end_was_acknowledged_stays_ours() {
    let late = |name: &str, _: &[TaskId]| (name == "settle").then_some(Fault::Late);
    let (storage, log) = (Faulty::when(late), Log::default());
    let runtime = node(&storage, &log).await;
    let task = step::dispatch("slow", true).on(&runtime).await.unwrap();
    task.output().await.unwrap();
    assert_eq!(log.taken(), ["slow/1", "slow/2"]);
    assert_eq!(task.info().await.unwrap().unwrap().lease, 2);
}

/// Somebody tries it again while the answer to a cancel is on its way: that is about the run that is over.
#[tokio::test(start_paused = true)]
async fn a_cancel_that_is_answered_late_stops_no_later_run() {
    let late = |name: &str, _: &[TaskId]| (name == "cancel").then_some(Fault::Late);
    let (storage, log) = (Faulty::when(late), Log::default());
    let runtime = node(&storage, &log).await;
    let task = step::dispatch("slow", false).on(&runtime).await.unwrap();
    let id = task.id();
    let is = async |state| {
        let now = async || storage.task(id).await.unwrap().unwrap().state == state;
        crate::until(now).await;
    };
    is(TaskState::Running).await;
    let asker = runtime.clone();
    let asked = tokio::spawn(async move { asker.cancel(id).await });
    is(TaskState::Cancelled).await;
    runtime.retry(id).await.unwrap();
    is(TaskState::Running).await;
    assert!(!asked.is_finished(), "it was to be answered late");
    assert_eq!(asked.await.unwrap().unwrap(), Cancel::Asked);
    assert_eq!(task.output().await.unwrap(), "slow");
}

#[tokio::test(start_paused = true)]
async fn health_answers_also_when_the_storage_does_not() {
    let stall = |name: &str, _: &[TaskId]| (name == "backlog").then_some(Fault::Stalls);
    let runtime = node(&Faulty::when(stall), &Log::default()).await;
    let health = tokio::time::timeout(Duration::from_secs(10), runtime.health()).await;
    let health = health.expect("no answer");
    assert!(!health.ok && health.storage_error.is_some());
}

/// A node that keeps no completed tasks, and all that it tells of them until it is shut down.
async fn ephemeral(storage: &Faulty, name: &str) -> (Runtime, TaskId, Vec<EventKind>) {
    let builder = Runtime::builder().storage(storage.clone()).discover(false).state(Log::default());
    let builder = builder.retention(Retention::default().ephemeral()).handler::<step>();
    let runtime = builder.start().await.unwrap();
    let mut events = runtime.events();
    let id = step::dispatch(name, false).on(&runtime).await.unwrap().id();
    tokio::time::sleep(Duration::from_secs(10)).await;
    runtime.shutdown().await.unwrap();
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        told.push(event.kind);
    }
    (runtime, id, told)
}

/// Another node takes the task over, completes it and keeps it for so long; false if nobody holds it.
fn completed_elsewhere(memory: &Memory, id: TaskId, keep: Keep) -> bool {
    let mut completed = false;
    let other: NodeId = *TaskId::new().as_uuid();
    for peer in now(memory.peers(other)) {
        for lost in now(memory.seize(peer, other, 10)).into_iter().filter(|it| it.id == id) {
            let mut done = Settlement::new(lost.id, lost.lease, Verdict::Complete);
            done.keep = KeepBy { completed: keep, ..done.keep };
            let settled = now(memory.settle(vec![done]));
            completed = settled == [Settled::Applied(TaskState::Completed)];
        }
    }
    completed
}

fn now<T>(mut reply: Reply<'_, T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match reply.as_mut().poll(&mut context) {
        std::task::Poll::Ready(answer) => answer.unwrap(),
        std::task::Poll::Pending => unreachable!("memory answers at once"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_node_completed_and_deleted_is_not_told_as_ours() {
    let memory = Arc::new(std::sync::OnceLock::<Memory>::new());
    let inner = Arc::clone(&memory);
    let storage = Faulty::when(move |name, about| {
        if let ("settle", Some(memory), Some(id)) = (name, inner.get(), about.first()) {
            completed_elsewhere(memory, *id, Keep::No);
        }
        None
    });
    memory.set(storage.inner.clone()).unwrap();
    let (_runtime, id, told) = ephemeral(&storage, "parent").await;
    assert!(storage.task(id).await.unwrap().is_none(), "it was deleted");
    assert!(told.contains(&EventKind::LeaseLost), "{told:?}");
    assert!(!told.contains(&EventKind::Completed), "{told:?}");
    let dispatched = told.iter().filter(|kind| **kind == EventKind::Dispatched).count();
    assert!(dispatched <= 1, "an effect is announced that was never stored: {told:?}");
}

#[evertask::handler(retries = 3, backoff = "fixed(1ms)")]
async fn fails() -> Result<(), String> {
    Err("as always".to_owned())
}

/// Found by storms: the end of an attempt was told again as what a later attempt had come to elsewhere, hooks and all.
#[tokio::test(start_paused = true)]
async fn an_end_whose_answer_was_lost_is_told_as_what_it_was_and_not_as_what_the_task_has_come_to()
{
    let memory = Arc::new(std::sync::OnceLock::<Memory>::new());
    let (inner, first, over) = (Arc::clone(&memory), AtomicBool::new(true), AtomicBool::new(false));
    let storage = Faulty::when(move |name, about| {
        let ("settle", Some(memory), Some(id)) = (name, inner.get(), about.first()) else {
            return None;
        };
        // It is tried again after a moment, and meanwhile the next attempt has begun.
        let lost = first.swap(false, Ordering::SeqCst)
            || !(over.load(Ordering::SeqCst) || completed_elsewhere(memory, *id, Keep::Forever));
        over.store(!lost, Ordering::SeqCst);
        lost.then_some(Fault::LosesReply)
    });
    memory.set(storage.inner.clone()).unwrap();
    let builder = Runtime::builder().storage(storage.clone()).discover(false);
    let runtime = builder.handler::<fails>().start().await.unwrap();
    let mut events = runtime.events();
    let task = fails::dispatch().on(&runtime).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    runtime.shutdown().await.unwrap();
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        told.push(event.kind);
    }
    let info = storage.task(task.id()).await.unwrap().unwrap();
    assert_eq!((info.state, info.lease), (TaskState::Completed, 3), "{info:?}");
    assert_eq!(told.iter().filter(|kind| **kind == EventKind::Retrying).count(), 1, "{told:?}");
    assert!(!told.contains(&EventKind::Completed), "another node completed it: {told:?}");
}

#[tokio::test(start_paused = true)]
async fn what_we_completed_and_deleted_is_told_although_the_answer_was_lost() {
    let first = AtomicBool::new(true);
    let storage = Faulty::when(move |name, _| {
        (name == "settle" && first.swap(false, Ordering::SeqCst)).then_some(Fault::LosesReply)
    });
    let (_runtime, id, told) = ephemeral(&storage, "a").await;
    assert!(storage.task(id).await.unwrap().is_none(), "it was deleted");
    assert_eq!(told.iter().filter(|kind| **kind == EventKind::Completed).count(), 1, "{told:?}");
    assert!(!told.contains(&EventKind::LeaseLost), "{told:?}");
}
