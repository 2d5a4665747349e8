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
        Claim, Inspect, KeepBy, Known, Memory, Node, NodeId, Page, Reply, Settled, Settlement,
        Storage, TaskFilter,
    },
    verdict::Verdict,
};

use crate::{
    faulty::{Fault, Faulty},
    log::Log,
};

#[evertask::handler(retries = 3, backoff = "fixed(1s)")]
async fn step(
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

async fn node(storage: &Faulty, log: &Log) -> Runtime {
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

#[tokio::test(start_paused = true)]
async fn trouble_that_passes_takes_nothing_from_what_is_stored() {
    let left = AtomicUsize::new(5);
    let trouble = move |name: &str, _: &[TaskId]| {
        let one_less = |left: usize| left.checked_sub(1);
        let now = name == "settle"
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
        now.then_some(Fault::Refuses(StorageErrorKind::Other))
    };
    let (storage, log) = (Faulty::when(trouble), Log::default());
    let runtime = node(&storage, &log).await;
    let task = step::dispatch("parent", false).on(&runtime).await.unwrap();
    assert_eq!(task.output().await.unwrap(), "parent");
    crate::until(async || log.len() == 2).await;
    assert_eq!(log.taken(), ["parent/1", "child/1"]);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_cannot_be_stored_holds_up_no_other() {
    let bad = Arc::new(std::sync::Mutex::new(None));
    let guilty = Arc::clone(&bad);
    let refuse = move |name: &str, about: &[TaskId]| {
        let bad = *guilty.lock().unwrap();
        let now = name == "settle" && bad.is_some_and(|bad| about.contains(&bad));
        now.then_some(Fault::Refuses(StorageErrorKind::Rejected))
    };
    let (storage, log) = (Faulty::when(refuse), Log::default());
    let runtime = node(&storage, &log).await;
    let task = step::dispatch("bad", false).after(Duration::from_secs(1)).on(&runtime).await;
    let task = task.unwrap();
    *bad.lock().unwrap() = Some(task.id());
    tokio::time::sleep(Duration::from_secs(10)).await;
    for _ in 0..10 {
        let other = step::dispatch("good", false).on(&runtime).await.unwrap();
        let output = tokio::time::timeout(Duration::from_secs(1), other.output()).await;
        output.expect("held up").unwrap();
    }
    *bad.lock().unwrap() = None;
    crate::until(async || {
        storage.task(task.id()).await.unwrap().unwrap().state == TaskState::Completed
    })
    .await;
    assert_eq!(log.len(), 11, "and ran once");
}

/// A caller's transaction that replaces a task has it locked, and may last; so has another node that claims it at this moment.
#[tokio::test(start_paused = true)]
async fn what_is_due_and_locked_is_not_asked_for_again_and_again_at_once() {
    let (storage, log) = (Faulty::when(|_, _| None), Log::default());
    let runtime = node(&storage, &log).await;
    storage.locked.store(true, Ordering::SeqCst);
    let task = step::dispatch("locked", false).on(&runtime).await.unwrap();
    let before = storage.calls.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let asked = storage.calls.load(Ordering::SeqCst) - before;
    assert!((90..130).contains(&asked), "asked {asked} times in ten seconds");
    storage.locked.store(false, Ordering::SeqCst);
    let output = tokio::time::timeout(Duration::from_millis(150), task.output()).await;
    assert_eq!(output.expect("it is looked for often enough").unwrap(), "locked");
}

/// A trigger of somebody's may refuse an end for as long as it stands there.
#[tokio::test(start_paused = true)]
async fn an_end_that_can_be_made_no_lighter_is_tried_again_and_not_at_once() {
    let (storage, log) = (Faulty::taking_no_end(), Log::default());
    let runtime = node(&storage, &log).await;
    let task = step::dispatch("bad", false).on(&runtime).await.unwrap();
    crate::until(async || log.len() == 1).await;
    let asked = storage.calls.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let asked = storage.calls.load(Ordering::SeqCst) - asked;
    // Some tries to bring its parts, then one each 2.5 to 5 s, and twice as many renewals at most.
    assert!((10..100).contains(&asked), "asked {asked} times in a minute");
    assert_eq!(log.len(), 1, "and ran once");
    assert_eq!(storage.task(task.id()).await.unwrap().unwrap().state, TaskState::Running);
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

/// Out of touch with its storage while the rest of the world is not: what `renew` and `join` meet while this says so.
fn cut_off_while(cut: &Arc<AtomicBool>) -> Faulty {
    let cut = Arc::clone(cut);
    Faulty::when(move |_, _| cut.load(Ordering::SeqCst).then_some(Fault::Fails))
}

#[evertask::handler(retries = 0)]
async fn endless(log: State<Log>, ctx: Context) {
    log.add(format!("begun {}", ctx.attempt()));
    let _told = Dropped(&log);
    std::future::pending::<()>().await;
}

struct Dropped<'l>(&'l Log);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.add("dropped");
    }
}

/// Promise 3 and 4: others take a node for dead that has been silent for its lease, so it stops what they may be running by then.
#[tokio::test(start_paused = true)]
async fn who_is_out_of_touch_for_its_lease_stops_what_runs_and_not_sooner() {
    let (cut, log) = (Arc::new(AtomicBool::new(false)), Log::default());
    let storage = cut_off_while(&cut);
    let builder = Runtime::builder().storage(storage.clone()).discover(false).state(log.clone());
    let node = builder.handler::<endless>().concurrency(1).start().await.unwrap();
    let task = endless::dispatch().on(&node).await.unwrap();
    crate::until(async || log.len() == 1).await;
    // Shorter than a lease, however often.
    for _ in 0..3 {
        cut.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(11)).await;
        cut.store(false, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(log.len(), 1, "an outage that is shorter than a lease stops nothing");
    cut.store(true, Ordering::SeqCst);
    let start = tokio::time::Instant::now();
    crate::until(async || log.len() == 2).await;
    let after = start.elapsed();
    assert_eq!(log.taken(), ["begun 1", "dropped"]);
    let lease = Duration::from_secs(15);
    // The last sign of life was sent up to a fifth of a lease before.
    assert!(after <= lease && after >= lease * 3 / 4, "after {after:?}");
    // Nothing begins meanwhile, and nobody has taken it: it goes on once the node is in touch again.
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(log.len(), 2, "{:?}", log.taken());
    cut.store(false, Ordering::SeqCst);
    crate::until(async || log.len() == 3).await;
    assert_eq!(log.taken()[2], "begun 1", "no attempt was spent");
    let info = task.info().await.unwrap().unwrap();
    let told = info.attempts[0].error.clone().unwrap_or_default();
    assert!(told.contains("had not reached the storage for its lease of 15s"), "{told}");
    node.shutdown().await.unwrap();
}

/// A claim is answered when the node has been out of touch for its lease meanwhile and is back: what it was given others may run.
#[tokio::test(start_paused = true)]
async fn what_a_claim_brings_from_before_its_node_was_out_of_touch_does_not_begin() {
    let (armed, cut) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (first, down) = (Arc::clone(&armed), Arc::clone(&cut));
    let storage = Faulty::when(move |name, _| {
        let late = name == "claim" && first.swap(false, Ordering::SeqCst);
        down.fetch_or(late, Ordering::SeqCst);
        let fails = down.load(Ordering::SeqCst).then_some(Fault::Fails);
        if late { Some(Fault::Late) } else { fails }
    });
    let (log, lease) = (Log::default(), Duration::from_secs(1));
    let builder = Runtime::builder().storage(storage.clone()).discover(false).state(log.clone());
    let node = builder.handler::<endless>().concurrency(1).lease(lease).start().await.unwrap();
    tokio::time::sleep(lease).await;
    armed.store(true, Ordering::SeqCst);
    let task = endless::dispatch().on(&node).await.unwrap();
    crate::until(async || cut.load(Ordering::SeqCst)).await;
    tokio::time::sleep(lease * 3 / 2).await;
    cut.store(false, Ordering::SeqCst);
    crate::until(async || log.len() > 0).await;
    let info = task.info().await.unwrap().unwrap();
    assert_eq!((info.lease, log.taken()), (2, vec!["begun 1".to_owned()]));
}

/// What was taken over while the answer was lost is judged all the same, and written down.
#[tokio::test(start_paused = true)]
async fn a_seizure_whose_answer_is_lost_is_taken_up() {
    let lost = AtomicBool::new(false);
    let storage = Faulty::when(move |name, _| {
        (name == "seize" && !lost.swap(true, Ordering::SeqCst)).then_some(Fault::LosesReply)
    });
    let log = Log::default();
    let builder = || {
        let builder = Runtime::builder().storage(storage.clone()).discover(false);
        builder.state(log.clone()).handler::<endless>()
    };
    let first = builder().start().await.unwrap();
    let task = endless::dispatch().on(&first).await.unwrap();
    crate::until(async || log.len() == 1).await;
    let second = builder().start().await.unwrap();
    storage.inner.leave(first.health().await.node).await.unwrap();
    crate::until(async || log.len() >= 3).await;
    let info = task.info().await.unwrap().unwrap();
    let ends: Vec<_> = info.attempts.iter().map(|attempt| attempt.end).collect();
    assert!(ends.contains(&evertask::AttemptEnd::Lost), "{info:?}");
    drop((first, second));
}

/// What is to become of one of them is refused, by a trigger of somebody's, say: the others are judged, and so is who dies later.
#[tokio::test(start_paused = true)]
async fn a_loss_that_cannot_be_stored_holds_up_no_other() {
    let bad = Arc::new(std::sync::Mutex::new(None));
    let guilty = Arc::clone(&bad);
    let refuse = move |name: &str, about: &[TaskId]| {
        let bad = *guilty.lock().unwrap();
        let now = name == "settle" && bad.is_some_and(|bad| about.contains(&bad));
        now.then_some(Fault::Refuses(StorageErrorKind::Other))
    };
    let (storage, log) = (Faulty::when(refuse), Log::default());
    let client = Runtime::builder().storage(storage.inner.clone()).discover(false);
    let client = client.handler::<step>().client().await.unwrap();
    // Held by a node that dies.
    let die_with = async |many: usize| {
        let tasks = (0..many).map(|n| step::new(format!("{n}"), false));
        let tasks = evertask::dispatch_all(tasks).on(&client).await.unwrap();
        let known: Arc<[Known]> = [Known { name: "step".into(), version: 1 }].into();
        let node = Node::new(known.clone(), vec!["default".into()]);
        storage.inner.join(node.clone()).await.unwrap();
        let claim = Claim::new(1, node.id, known, many).queue("default", many, 0);
        assert_eq!(storage.inner.claim(claim).await.unwrap().tasks.len(), many);
        storage.inner.leave(node.id).await.unwrap();
        tasks.iter().map(|task| task.id()).collect::<Vec<_>>()
    };
    let first = die_with(5).await;
    *bad.lock().unwrap() = Some(first[2]);
    let _runtime = node(&storage, &log).await;
    crate::until(async || log.len() == 4).await;
    let before = storage.calls.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let asked = storage.calls.load(Ordering::SeqCst) - before;
    assert!(asked < 200, "asked {asked} times in a minute");
    *bad.lock().unwrap() = None;
    crate::until(async || log.len() == 5).await;
    *bad.lock().unwrap() = Some(first[2]);
    die_with(2).await;
    crate::until(async || log.len() == 7).await;
    let info = storage.task(first[2]).await.unwrap().unwrap();
    assert_eq!((info.state, info.attempts.len()), (TaskState::Completed, 1), "lost once: {info:?}");
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

#[evertask::handler]
async fn large(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// The sizes of the batches in which 33 tasks are settled that end at once.
async fn settled_in(
    bytes: usize,
    fault: impl Fn(usize) -> Option<Fault> + Send + Sync + 'static,
) -> Vec<usize> {
    let sizes = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&sizes);
    let storage = Faulty::when(move |name, about| {
        if name != "settle" {
            return None;
        }
        let mut seen = seen.lock().unwrap();
        seen.push(about.len());
        fault(about.len())
    });
    let builder = Runtime::builder().storage(storage.clone()).discover(false).concurrency(64);
    let runtime = builder.handler::<large>().start().await.unwrap();
    let tasks =
        evertask::dispatch_all((0..33).map(|_| large::new(bytes))).on(&runtime).await.unwrap();
    for task in tasks {
        let output = tokio::time::timeout(Duration::from_secs(300), task.output()).await;
        assert_eq!(output.expect("it is never settled").unwrap().len(), bytes);
    }
    runtime.shutdown().await.unwrap();
    let sizes = sizes.lock().unwrap();
    sizes.clone()
}

#[tokio::test(start_paused = true)]
async fn large_outputs_are_settled_in_small_batches() {
    let small = settled_in(10, |_| None).await;
    assert!(small.len() <= 3, "{small:?}");
    let large = settled_in(1_000_000, |_| None).await;
    assert!(large.iter().all(|batch| *batch <= 8) && large.len() >= 4, "{large:?}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_takes_too_long_is_not_repeated_as_it_is() {
    let sizes = settled_in(10, |batch| (batch > 4).then_some(Fault::Stalls)).await;
    assert!(sizes.len() < 20, "{sizes:?}");
}
