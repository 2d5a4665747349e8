//! What a storage refuses, however it is said, and what hangs there: no other has to wait for it, and it is not asked for without
//! a pause.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use evertask::{
    Cancel, Keep, Runtime, ShutdownError, StorageErrorKind, TaskId, TaskState,
    storage::{Claim, Inspect, Known, Node, Storage},
};

use crate::{
    faults::{node, step},
    faulty::{Fault, Faulty},
    log::Log,
};

/// A storage that says this of each write of ends in which that task is, if one is named.
fn refusing(kind: StorageErrorKind) -> (Faulty, Arc<Mutex<Option<TaskId>>>) {
    let bad = Arc::new(Mutex::new(None));
    let guilty = Arc::clone(&bad);
    let refuse = move |name: &str, about: &[TaskId]| {
        let bad = *guilty.lock().unwrap();
        let now = name == "settle" && bad.is_some_and(|bad| about.contains(&bad));
        now.then_some(Fault::Refuses(kind))
    };
    (Faulty::when(refuse), bad)
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
    let ((storage, bad), log) = (refusing(StorageErrorKind::Rejected), Log::default());
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

/// What is to become of one of them is refused, by a trigger of somebody's, say: the others are judged, and so is who dies later.
#[tokio::test(start_paused = true)]
async fn a_loss_that_cannot_be_stored_holds_up_no_other() {
    let ((storage, bad), log) = (refusing(StorageErrorKind::Other), Log::default());
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
    die_with(2).await;
    crate::until(async || log.len() == 6).await;
    *bad.lock().unwrap() = None;
    crate::until(async || log.len() == 7).await;
    let info = storage.task(first[2]).await.unwrap().unwrap();
    assert_eq!((info.state, info.attempts.len()), (TaskState::Completed, 1), "lost once: {info:?}");
}

/// Found by the simulator: what a node holds and does not know of was given back before its cancels were told, and that write may hang.
#[tokio::test(start_paused = true)]
async fn a_task_that_cannot_be_given_back_keeps_no_cancel_from_being_heard() {
    let stray = Arc::new(Mutex::new(None));
    let hangs = Arc::clone(&stray);
    let hang = move |name: &str, about: &[TaskId]| {
        let stray = *hangs.lock().unwrap();
        (name == "settle" && stray.is_some_and(|stray| about.contains(&stray)))
            .then_some(Fault::Stalls)
    };
    let (storage, log) = (Faulty::when(hang), Log::default());
    let runtime = node(&storage, &log).await;
    // Its first claim brings this one, and a later one the other.
    step::dispatch("first", false).on(&runtime).await.unwrap().output().await.unwrap();
    let slow = step::dispatch("slow", false).on(&runtime).await.unwrap();
    crate::until(async || log.len() == 2).await;
    // And this one, of which it never heard.
    let lost = step::dispatch("lost", false).queue("elsewhere").on(&runtime).await.unwrap();
    *stray.lock().unwrap() = Some(lost.id());
    let known: Arc<[Known]> = [Known { name: "step".into(), version: 1 }].into();
    let claim = Claim::new(1, runtime.health().await.node, known, 1).queue("elsewhere", 1, 0);
    assert_eq!(storage.inner.claim(claim).await.unwrap().tasks.len(), 1);
    // By somebody elsewhere: this node hears of it with its next renewal.
    assert_eq!(storage.inner.cancel(slow.id(), Keep::Forever).await.unwrap(), Cancel::Asked);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let state = async |id| storage.task(id).await.unwrap().unwrap().state;
    assert_eq!(state(slow.id()).await, TaskState::Cancelled);
    assert_eq!(state(lost.id()).await, TaskState::Running);
    *stray.lock().unwrap() = None;
    crate::until(async || state(lost.id()).await == TaskState::Pending).await;
}

/// It has left, so others have what it held; and whoever opened it may live on.
#[tokio::test(start_paused = true)]
async fn a_node_that_left_while_nothing_could_be_stored_lets_go_of_its_storage() {
    let away = |name: &str, _: &[TaskId]| (name == "settle").then_some(Fault::Fails);
    let (storage, log) = (Faulty::when(away), Log::default());
    let used = Arc::downgrade(&storage.calls);
    let runtime = node(&storage, &log).await;
    step::dispatch("done", false).on(&runtime).await.unwrap();
    crate::until(async || log.len() == 1).await;
    let left = runtime.shutdown().await;
    assert!(matches!(left, Err(ShutdownError::Unsettled { unsettled: 1 })), "{left:?}");
    drop((runtime, storage));
    crate::until(async || used.strong_count() == 0).await;
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
    let sizes = Arc::new(Mutex::new(Vec::new()));
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
