//! A storage that fails, or does its work and loses the reply, or never answers, at any one of its calls: nothing is lost, and
//! nothing runs that was not to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use evertask::{
    Context, Dispatched, Keep, Runtime, State, StorageError, StorageErrorKind, TaskId, TaskInfo,
    TaskState,
    storage::{
        Backlog, Beat, Bell, Cancel, Claim, Claimed, Count, Enqueued, Held, Inspect, Lost, Memory,
        NewTask, Node, NodeId, Page, Peer, Pruned, Reply, Revive, Settled, Settlement, Storage,
        TaskFilter,
    },
};

use crate::log::Log;

/// What goes wrong at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing is done, and that is told.
    Fails,
    /// All is done, and the reply is an error.
    LosesReply,
    /// Nothing is done, and no reply ever comes.
    Stalls,
    /// All is done, and no reply ever comes.
    StallsAfter,
}

/// Memory, but for one call.
#[derive(Debug, Clone)]
struct Faulty {
    inner: Memory,
    calls: Arc<AtomicUsize>,
    at: usize,
    fault: Fault,
    beats: bool,
}

impl Faulty {
    fn new(at: usize, fault: Fault) -> Self {
        Self { inner: Memory::new(), calls: Arc::default(), at, fault, beats: true }
    }

    fn meddle<'a, T: Send + 'a>(&'a self, call: Reply<'a, T>) -> Reply<'a, T> {
        if self.calls.fetch_add(1, Ordering::SeqCst) != self.at {
            return call;
        }
        let lost = || Err(StorageError::new(StorageErrorKind::Unavailable, "the connection broke"));
        let fault = self.fault;
        Box::pin(async move {
            match fault {
                Fault::Fails => lost(),
                Fault::LosesReply => call.await.and_then(|_| lost()),
                Fault::Stalls => std::future::pending().await,
                Fault::StallsAfter => {
                    call.await?;
                    std::future::pending().await
                }
            }
        })
    }
}

impl Storage for Faulty {
    fn bell(&self) -> &Bell {
        self.inner.bell()
    }
    fn needs_beats(&self) -> bool {
        self.beats
    }
    fn join(&self, node: Node) -> Reply<'_, ()> {
        self.inner.join(node)
    }
    fn enqueue(&self, tasks: Vec<NewTask>) -> Reply<'_, Vec<Enqueued>> {
        self.meddle(Box::pin(async move { self.inner.enqueue(tasks).await }))
    }
    fn claim(&self, claim: Claim) -> Reply<'_, Claimed> {
        self.meddle(Box::pin(async move { self.inner.claim(claim).await }))
    }
    fn settle(&self, batch: Vec<Settlement>) -> Reply<'_, Vec<Settled>> {
        self.meddle(Box::pin(async move { self.inner.settle(batch).await }))
    }
    fn renew(&self, beat: Beat) -> Reply<'_, Vec<Held>> {
        self.meddle(Box::pin(async move { self.inner.renew(beat).await }))
    }
    fn peers(&self, node: NodeId) -> Reply<'_, Vec<Peer>> {
        self.meddle(Box::pin(async move { self.inner.peers(node).await }))
    }
    fn seize(&self, from: NodeId, by: NodeId, limit: usize) -> Reply<'_, Vec<Lost>> {
        self.meddle(Box::pin(async move { self.inner.seize(from, by, limit).await }))
    }
    fn cancel(&self, id: TaskId, keep: Keep) -> Reply<'_, Cancel> {
        self.inner.cancel(id, keep)
    }
    fn revive(&self, id: TaskId) -> Reply<'_, Revive> {
        self.inner.revive(id)
    }
    fn prune(&self, limit: usize) -> Reply<'_, Pruned> {
        self.meddle(Box::pin(async move { self.inner.prune(limit).await }))
    }
    fn leave(&self, node: NodeId) -> Reply<'_, ()> {
        self.meddle(Box::pin(async move { self.inner.leave(node).await }))
    }
}

impl Inspect for Faulty {
    fn task(&self, id: TaskId) -> Reply<'_, Option<TaskInfo>> {
        self.inner.task(id)
    }
    fn tasks(&self, filter: TaskFilter, page: Page) -> Reply<'_, Vec<TaskInfo>> {
        self.inner.tasks(filter, page)
    }
    fn counts(&self) -> Reply<'_, Vec<Count>> {
        self.inner.counts()
    }
    fn backlog(&self) -> Reply<'_, Vec<Backlog>> {
        self.inner.backlog()
    }
}

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
    let (log, storage) = (Log::default(), Faulty::new(at, fault));
    let builder = Runtime::builder().storage(storage.clone()).discover(false).state(log.clone());
    // A stalled dispatch is given up, and whether it was stored is not known; the caller dispatches again with its key.
    let runtime = builder
        .handler::<step>()
        .concurrency(3)
        .dispatch_timeout(Duration::from_secs(5))
        .start()
        .await
        .unwrap();
    let dispatch = async |name: &str, fail_first: bool| loop {
        match step::dispatch(name, fail_first).key(name).on(&runtime).await {
            Ok(task) => return task,
            Err(error) => {
                assert!(matches!(error, evertask::DispatchError::Unknown { .. }), "{said}: {error}")
            }
        }
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
        .unwrap();
    let mut ran = log.taken();
    ran.sort();
    let expected = ["a/1", "b/1", "b/2", "c/1", "c/2", "child/1", "parent/1", "slow/1"];
    if fault == Fault::StallsAfter {
        // Given up by its caller after it was stored and perhaps after it had run, a task may be dispatched a second time.
        ran.dedup();
    }
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
    let storage = Faulty::new(0, Fault::StallsAfter);
    let builder = Runtime::builder().storage(storage.clone()).discover(false).handler::<step>();
    let client = builder.client().await.unwrap();
    let error = step::dispatch("a", false).key("a").on(&client).await.unwrap_err();
    let evertask::DispatchError::Unknown { id, .. } = error else { panic!("{error}") };
    assert_eq!(
        client.task(id).await.unwrap().unwrap().state,
        TaskState::Pending,
        "here it was stored"
    );
    let again = step::dispatch("a", false).key("a").on(&client).await.unwrap();
    assert_eq!((again.id(), again.dispatched()), (id, Dispatched::Replaced));
}

#[tokio::test(start_paused = true)]
async fn an_idle_node_asks_its_storage_nothing() {
    let mut storage = Faulty::new(usize::MAX, Fault::Fails);
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
    // Claim, renew and peers look once in one to two minutes each, against hints that were missed; pruning looks rarely.
    assert!(looks <= 3 * 10 + 2, "{looks} calls in ten idle minutes");
    runtime.shutdown().await.unwrap();
}
