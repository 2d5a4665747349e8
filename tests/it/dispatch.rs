//! What a dispatch promises, refuses and tells.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use evertask::{
    Cancel, Context, DispatchError, Dispatched, OutputError, Page, Runtime, State, TaskFilter,
    TaskState,
    storage::{Inspect, Memory},
};

use crate::{
    faulty::{Fault, Faulty},
    log::Log,
};

const HOUR: Duration = Duration::from_secs(3600);

#[evertask::handler]
async fn note(text: String, log: State<Log>) -> usize {
    log.add(text);
    log.len()
}

async fn node(log: &Log) -> Runtime {
    let builder = Runtime::builder().storage(Memory::new()).discover(false);
    builder.handler::<note>().state(log.clone()).start().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_dispatched_task_runs_and_its_output_is_typed() {
    let log = Log::default();
    let runtime = node(&log).await;
    let task = note::dispatch("a").await.unwrap();
    assert_eq!(task.dispatched(), Dispatched::Created);
    let output: usize = task.output().await.unwrap();
    assert_eq!((output, log.taken()), (1, vec!["a".to_owned()]));
    let info = task.info().await.unwrap().unwrap();
    assert_eq!((info.state, info.attempt, info.name.as_str()), (TaskState::Completed, 1, "note"));
    assert_eq!(info.payload.as_str(), Some(r#"{"text":"a"}"#));
    assert_eq!(runtime.task(task.id()).await.unwrap().unwrap().output.unwrap().as_str(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_payload_dispatches_like_its_arguments_and_the_fn_stays_callable() {
    let log = Log::default();
    let _runtime = node(&log).await;
    evertask::dispatch(note { text: "p".into() }).await.unwrap().output().await.unwrap();
    assert_eq!(note("q".into(), State::from(log.clone())).await, 2);
    assert_eq!(log.taken(), ["p", "q"]);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_task_runs_when_it_is_due_and_not_before() {
    let log = Log::default();
    let _runtime = node(&log).await;
    let start = tokio::time::Instant::now();
    let late = note::dispatch("late").after(2 * HOUR).await.unwrap();
    let early = note::dispatch("early").at(SystemTime::now() + HOUR).await.unwrap();
    let past = note::dispatch("past").at(SystemTime::now() - HOUR).await.unwrap();
    past.output().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "the past is now");
    early.output().await.unwrap();
    let at = start.elapsed();
    assert!(at >= HOUR - Duration::from_secs(5) && at < HOUR + Duration::from_secs(5), "{at:?}");
    late.output().await.unwrap();
    let at = start.elapsed();
    assert!(at >= 2 * HOUR && at < 2 * HOUR + Duration::from_secs(1), "{at:?}");
    assert_eq!(log.taken(), ["past", "early", "late"]);
}

#[tokio::test(start_paused = true)]
async fn higher_priority_goes_first_inside_a_queue() {
    let log = Log::default();
    let memory = Memory::new();
    let builder = || {
        let builder = Runtime::builder().storage(memory.clone()).discover(false);
        builder.handler::<note>().state(log.clone()).queue("default", |q| q.concurrency(1))
    };
    let client = builder().client().await.unwrap();
    for (text, priority) in [("low", -5), ("normal", 0), ("high", 5), ("normal too", 0)] {
        note::dispatch(text).priority(priority).on(&client).await.unwrap();
    }
    let runtime = builder().start().await.unwrap();
    let last = note::dispatch("last").priority(-9).on(&runtime).await.unwrap();
    last.output().await.unwrap();
    assert_eq!(log.taken(), ["high", "normal", "normal too", "low", "last"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_held_by_one_live_task() {
    let log = Log::default();
    let runtime = node(&log).await;
    let first = note::dispatch("old").after(HOUR).key("k").await.unwrap();
    let second = note::dispatch("new").key("k").tag("a", "b").await.unwrap();
    assert_eq!(second.dispatched(), Dispatched::Replaced);
    assert_eq!(first.id(), second.id());
    second.output().await.unwrap();
    assert_eq!(log.taken(), ["new"], "the newer payload ran, once, and at once");
    let third = note::dispatch("again").key("k").await.unwrap();
    assert_eq!(third.dispatched(), Dispatched::Created, "an ended task holds no key");
    let mut filter = TaskFilter::default();
    filter.tag = Some(("a".into(), "b".into()));
    let tagged = runtime.tasks(filter, Page::default()).await.unwrap();
    assert_eq!(tagged.iter().map(|task| task.id).collect::<Vec<_>>(), [first.id()]);
}

#[evertask::handler]
async fn hang(ctx: Context) {
    let _forever = ctx.name();
    std::future::pending::<()>().await;
}

#[tokio::test(start_paused = true)]
async fn a_running_task_keeps_its_key_and_the_loser_is_told_its_id() {
    let builder = Runtime::builder().storage(Memory::new()).discover(false);
    let runtime = builder.handler::<hang>().start().await.unwrap();
    let first = hang::dispatch().key("k").await.unwrap();
    crate::until(async || {
        runtime.task(first.id()).await.unwrap().unwrap().state == TaskState::Running
    })
    .await;
    let second = hang::dispatch().key("k").await.unwrap();
    assert_eq!((second.id(), second.dispatched()), (first.id(), Dispatched::Existing));
    assert_eq!(second.cancel().await.unwrap(), Cancel::Asked);
}

#[tokio::test(start_paused = true)]
async fn many_are_stored_together_or_not_at_all() {
    let log = Log::default();
    let runtime = node(&log).await;
    let tasks = evertask::dispatch_all((0..50).map(|n| note::new(n.to_string()))).await.unwrap();
    for task in &tasks {
        task.output().await.unwrap();
    }
    assert_eq!(log.len(), 50);
    let many = evertask::dispatch_all((0..10_001).map(|_| note::new("x"))).await;
    assert!(matches!(many, Err(DispatchError::BatchTooLarge { given: 10_001, .. })));
    let large = "x".repeat(2 << 20);
    let one_bad = [note::new("fine"), note::new(large)];
    let error = evertask::dispatch_all(one_bad).await.unwrap_err();
    assert!(matches!(error, DispatchError::PayloadTooLarge { .. }), "{error}");
    let stored =
        runtime.tasks(TaskFilter::default(), Page { before: None, limit: 1000 }).await.unwrap();
    assert_eq!(stored.len(), 50, "nothing of a refused batch is stored");
    assert!(evertask::dispatch_all::<note>([]).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_worth_starting_is_cancelled() {
    let log = Log::default();
    let _runtime = node(&log).await;
    let task = note::dispatch("stale").after(HOUR).expires(HOUR / 2).await.unwrap();
    match task.output().await {
        Err(OutputError::Cancelled { reason, .. }) => assert_eq!(reason, "expired"),
        other => panic!("{other:?}"),
    }
    assert_eq!(log.len(), 0);
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_in_words() {
    let log = Log::default();
    let runtime = node(&log).await;
    let said = async |dispatch: evertask::Dispatch<note>| dispatch.await.unwrap_err().to_string();
    let key = said(note::dispatch("x").key("k".repeat(201))).await;
    assert_eq!(key, "key has 201 characters; at most 200 fit");
    let queue = said(note::dispatch("x").queue("a\nb")).await;
    assert!(queue.contains("holds a control character"), "{queue}");
    let tag = said(note::dispatch("x").tag("", "v")).await;
    assert_eq!(tag, "tag key is empty");
    let large = said(note::dispatch("x".repeat(1 << 20))).await;
    assert!(large.contains("at most 1048576 fit"), "{large}");
    assert_eq!(runtime.tasks(TaskFilter::default(), Page::default()).await.unwrap().len(), 0);
}

#[evertask::handler]
async fn stranger() {}

#[tokio::test]
async fn a_handler_this_runtime_does_not_know_is_refused_at_dispatch() {
    let log = Log::default();
    let _runtime = node(&log).await;
    let error = stranger::dispatch().await.unwrap_err();
    assert!(
        matches!(&error, DispatchError::UnknownHandler { name, .. } if name == "stranger"),
        "{error}"
    );
}

/// Written as one thing, read as another.
mod lossy {
    #[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
    pub(super) struct Lossy {
        #[serde(skip_deserializing, default)]
        pub(super) kept: u8,
    }
}

#[evertask::handler]
async fn forget(value: lossy::Lossy) {
    let _unused = value.kept;
}

#[tokio::test]
async fn a_payload_that_does_not_come_back_is_refused_at_dispatch() {
    let builder = Runtime::builder().storage(Memory::new()).discover(false);
    let _runtime = builder.handler::<forget>().start().await.unwrap();
    let error = forget::dispatch(lossy::Lossy { kept: 7 }).await.unwrap_err().to_string();
    assert!(error.contains(r#"it was `{"value":{"kept":7}}`"#), "{error}");
}

#[tokio::test]
async fn a_queue_gets_the_slots_it_was_promised_or_the_start_says_why_not() {
    let builder =
        || Runtime::builder().storage(Memory::new()).discover(false).handler::<stranger>();
    let wide = builder().queue("a", |q| q.concurrency(70)).queue("b", |q| q.concurrency(30));
    let wide = wide.start().await.unwrap();
    assert_eq!(wide.health().await.concurrency, 100);
    let narrow = builder().concurrency(8).queue("a", |q| q.concurrency(20)).start().await;
    let error = narrow.unwrap_err().to_string();
    assert!(
        error
            .starts_with("queue `a`: it is to run 20 attempts at once, the node as a whole only 8"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_try_that_is_never_answered_leaves_time_for_another() {
    for fault in [Fault::Stalls, Fault::StallsAfter] {
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&tries);
        let storage = Faulty::when(move |name, _| {
            let silent = name == "enqueue" && counted.fetch_add(1, Ordering::SeqCst) < 2;
            silent.then_some(fault)
        });
        let builder = Runtime::builder().storage(storage.clone()).discover(false);
        let client = builder.handler::<note>().client().await.unwrap();
        let start = tokio::time::Instant::now();
        let task = note::dispatch("a").on(&client).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(9), "{fault:?}: {:?}", start.elapsed());
        assert_eq!(tries.load(Ordering::SeqCst), 3, "{fault:?}");
        let page = Page { before: None, limit: 10 };
        let stored = storage.tasks(TaskFilter::default(), page).await.unwrap();
        let stored: Vec<_> = stored.iter().map(|task| task.id).collect();
        assert_eq!(stored, [task.id()], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn health_tells_that_nothing_can_be_stored_while_somebody_tries() {
    let broken = Arc::new(AtomicBool::new(true));
    let breaks = Arc::clone(&broken);
    let storage = Faulty::when(move |name, _| {
        (name == "enqueue" && breaks.load(Ordering::SeqCst)).then_some(Fault::Fails)
    });
    let builder = Runtime::builder().storage(storage).discover(false);
    let builder = builder.dispatch_timeout(Duration::from_secs(6)).state(Log::default());
    let node = builder.handler::<note>().start().await.unwrap();
    let ok = async || node.health().await.ok;
    let fail = async || drop(note::dispatch("a").on(&node).await.unwrap_err());
    for _ in 0..2 {
        fail().await;
        assert!(ok().await, "it may be over in a moment");
        for _ in 0..4 {
            fail().await;
        }
        let health = node.health().await;
        let (since, why) = health.loops[0].failing.clone().unwrap();
        assert!(!health.ok && since > Duration::from_secs(10), "{health:?}");
        assert!(why.contains("the connection broke"), "{why}");
        // Who no longer tries cannot know, and others may be sent here again.
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(ok().await);
    }
    for _ in 0..5 {
        fail().await;
    }
    assert!(!ok().await);
    broken.store(false, Ordering::SeqCst);
    note::dispatch("a").on(&node).await.unwrap();
    assert!(ok().await);
}
