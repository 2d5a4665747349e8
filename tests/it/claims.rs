//! What is taken from storage, when, and in whose turn: queues that starve no other, hints that are not lost, suspects.

use std::time::Duration;

use evertask::{
    Cancel, Runtime, State, TaskState,
    storage::{Claim, Inspect, Known, Memory, Node, Settlement, Storage},
    verdict::Verdict,
};

use crate::{faulty::Faulty, log::Log};

const SECOND: Duration = Duration::from_secs(1);

#[evertask::handler]
async fn next(left: u32, log: State<Log>) {
    if left > 0 {
        next::dispatch(left - 1).await.unwrap();
    } else {
        log.add("end");
    }
}

#[tokio::test(start_paused = true)]
async fn no_hint_is_lost_beside_another() {
    let log = Log::default();
    let builder = Runtime::builder().storage(Memory::new()).discover(false).state(log.clone());
    let _runtime = builder.handler::<next>().concurrency(4).start().await.unwrap();
    let start = tokio::time::Instant::now();
    for _ in 0..3 {
        next::dispatch(200).await.unwrap();
    }
    crate::until(async || log.len() == 3).await;
    assert!(start.elapsed() < 5 * SECOND, "{:?}", start.elapsed());
}

#[evertask::handler(queue = "narrow_one")]
async fn narrow(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[evertask::handler(queue = "wide_one")]
async fn wide(millis: u64, log: State<Log>) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    log.add("wide");
}

async fn two_queues(
    storage: &(impl Storage + Inspect + Clone),
    log: &Log,
    concurrency: usize,
) -> Runtime {
    let builder = Runtime::builder().storage(storage.clone()).discover(false).state(log.clone());
    let builder = builder.handler::<narrow>().handler::<wide>().handler::<held>();
    builder
        .concurrency(concurrency)
        .queue("narrow_one", |q| q.concurrency(1))
        .start()
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_goes_on_as_soon_as_it_has_room_whatever_the_others_do() {
    let runtime = two_queues(&Memory::new(), &Log::default(), 8).await;
    let start = tokio::time::Instant::now();
    let tasks = evertask::dispatch_all((0..5).map(|_| narrow::new(1))).on(&runtime).await.unwrap();
    for task in tasks {
        task.output().await.unwrap();
    }
    assert!(start.elapsed() < 6 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_retry_in_a_full_queue_is_not_forgotten() {
    let runtime = two_queues(&Memory::new(), &Log::default(), 8).await;
    let start = tokio::time::Instant::now();
    let first = narrow::dispatch(1).on(&runtime).await.unwrap();
    wide::dispatch(0).after(SECOND / 2).on(&runtime).await.unwrap();
    let later = narrow::dispatch(1).after(3 * SECOND).on(&runtime).await.unwrap();
    first.output().await.unwrap();
    later.output().await.unwrap();
    assert!(start.elapsed() < 5 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_long_line_in_one_queue_starves_no_other() {
    let log = Log::default();
    let runtime = two_queues(&Memory::new(), &log, 2).await;
    evertask::dispatch_all((0..4000).map(|_| wide::new(2))).on(&runtime).await.unwrap();
    crate::until(async || log.len() > 200).await;
    let other = narrow::dispatch(0).on(&runtime).await.unwrap();
    other.output().await.unwrap();
    assert!(log.len() < 1000, "{}", log.len());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_rang_for_is_found_however_busy_the_node_is() {
    let (log, (storage, memory)) = (Log::default(), Faulty::deaf());
    let client = Runtime::builder()
        .storage(memory)
        .discover(false)
        .handler::<narrow>()
        .handler::<wide>()
        .client()
        .await
        .unwrap();
    evertask::dispatch_all((0..1000).map(|_| narrow::new(1))).on(&client).await.unwrap();
    let _runtime = two_queues(&storage, &log, 8).await;
    tokio::time::sleep(10 * SECOND).await;
    wide::dispatch(0).on(&client).await.unwrap();
    tokio::time::sleep(130 * SECOND).await;
    assert_eq!(
        log.len(),
        1,
        "each look for the sake of safety is put off by the next task that ends"
    );
}

#[tokio::test(start_paused = true)]
async fn slow_tasks_of_two_queues_take_turns() {
    let log = Log::default();
    let runtime = two_queues(&Memory::new(), &log, 1).await;
    evertask::dispatch_all((0..100).map(|_| wide::new(50))).on(&runtime).await.unwrap();
    for _ in 0..3 {
        let before = log.len();
        narrow::dispatch(0).on(&runtime).await.unwrap().output().await.unwrap();
        assert!(log.len() <= before + 3, "{} to {}", before, log.len());
    }
    // And the other way round, whichever is asked for first.
    let runtime = two_queues(&Memory::new(), &log, 1).await;
    evertask::dispatch_all((0..100).map(|_| narrow::new(1))).on(&runtime).await.unwrap();
    tokio::time::sleep(5 * SECOND / 2).await;
    for _ in 0..3 {
        let start = tokio::time::Instant::now();
        wide::dispatch(0).on(&runtime).await.unwrap().output().await.unwrap();
        assert!(start.elapsed() < 4 * SECOND, "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_run_at_once_than_the_node_has_slots_however_quick_they_are() {
    let log = Log::default();
    let runtime = two_queues(&Memory::new(), &log, 2).await;
    let tasks = evertask::dispatch_all((0..300).map(|_| held::new(0))).on(&runtime).await.unwrap();
    for task in tasks {
        task.output().await.unwrap();
    }
    assert_eq!(at_once(&log), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_ahead_is_given_back_at_shutdown() {
    let (memory, log) = (Memory::new(), Log::default());
    let runtime = two_queues(&memory, &log, 4).await;
    let millis = std::iter::repeat_n(1, 100).chain([1_000; 4]).chain([1; 2]);
    let tasks = evertask::dispatch_all(millis.map(wide::new)).on(&runtime).await.unwrap();
    crate::until(async || log.len() == 100).await;
    let last = tasks[105].id();
    assert_eq!(memory.task(last).await.unwrap().unwrap().state, TaskState::Running);
    runtime.shutdown().await.unwrap();
    let info = memory.task(last).await.unwrap().unwrap();
    assert_eq!((info.state, info.losses, info.attempt), (TaskState::Pending, 0, 0));
    assert_eq!(log.len(), 104, "and what ran has ended");
}

/// Tells the log when it comes and when it goes.
struct Here(Log);

impl Here {
    fn new(log: &Log) -> Self {
        log.add("in");
        Self(log.clone())
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.0.add("out");
    }
}

/// The most that were in at once, and how many are in now.
fn at_once(log: &Log) -> (usize, usize) {
    let (mut most, mut now) = (0, 0);
    for line in log.taken() {
        if line == "in" {
            now += 1
        } else {
            now -= 1
        }
        most = most.max(now);
    }
    (most, now)
}

#[evertask::handler(queue = "held")]
pub(crate) async fn held(seconds: u64, log: State<Log>) {
    let _here = Here::new(&log);
    tokio::time::sleep(Duration::from_secs(seconds) + SECOND / 1000).await;
}

pub(crate) async fn make_suspect(memory: &Memory, seconds: u64) -> evertask::TaskId {
    let client = Runtime::builder().storage(memory.clone()).discover(false).handler::<held>();
    let client = client.client().await.unwrap();
    let task = held::dispatch(seconds).on(&client).await.unwrap();
    let known: std::sync::Arc<[Known]> = [Known { name: "held".into(), version: 1 }].into();
    for n in 0..2 {
        let node = Node::new(known.clone(), vec!["held".into()]);
        memory.join(node.clone()).await.unwrap();
        let claim = Claim::new(1, node.id, known.clone(), 1).queue("held", 1, 0);
        assert_eq!(memory.claim(claim).await.unwrap().tasks.len(), 1, "{n}");
        let by = Node::new(known.clone(), vec![]).id;
        let seen = memory.peers(by).await.unwrap()[0];
        let lost = memory.seize(seen, by, 1).await.unwrap().remove(0);
        let rescue = Verdict::Rescue { started: true, alone: false };
        memory.settle(vec![Settlement::new(lost.id, lost.lease, rescue)]).await.unwrap();
        memory.leave(node.id).await.unwrap();
    }
    task.id()
}

#[tokio::test(start_paused = true)]
async fn a_suspect_on_an_idle_node_runs_once_the_node_has_lived_a_moment_without() {
    let (memory, log) = (Memory::new(), Log::default());
    let id = make_suspect(&memory, 0).await;
    let start = tokio::time::Instant::now();
    let _runtime = two_queues(&memory, &log, 2).await;
    // One that dies before that has died of something else.
    tokio::time::sleep(SECOND * 9 / 10).await;
    assert_eq!(log.len(), 0);
    crate::until(async || memory.task(id).await.unwrap().unwrap().state == TaskState::Completed)
        .await;
    assert!(start.elapsed() < SECOND * 2, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_suspect_gets_no_slot_that_there_is_not() {
    let (memory, log) = (Memory::new(), Log::default());
    let id = make_suspect(&memory, 100).await;
    let client = Runtime::builder().storage(memory.clone()).discover(false).handler::<held>();
    let client = client.client().await.unwrap();
    for _ in 0..2 {
        held::dispatch(100).on(&client).await.unwrap();
    }
    let start = tokio::time::Instant::now();
    let runtime = two_queues(&memory, &log, 2).await;
    tokio::time::sleep(20 * SECOND).await;
    held::dispatch(0).on(&client).await.unwrap();
    crate::until(async || memory.task(id).await.unwrap().unwrap().state == TaskState::Completed)
        .await;
    assert_eq!(at_once(&log).0, 2);
    assert!(start.elapsed() < 201 * SECOND, "{:?}", start.elapsed());
    let after = held::dispatch(0).on(&runtime).await.unwrap();
    after.output().await.unwrap();
    assert!(start.elapsed() < 202 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_comes_back_under_a_newer_lease_ends_its_old_attempt() {
    let (memory, log) = (Memory::new(), Log::default());
    let runtime = two_queues(&memory, &log, 2).await;
    held::dispatch(3000).on(&runtime).await.unwrap();
    crate::until(async || log.len() == 1).await;
    let other = Node::new([].into(), vec![]).id;
    let seen = memory.peers(other).await.unwrap()[0];
    let lost = memory.seize(seen, other, 1).await.unwrap().remove(0);
    let rescue = Verdict::Rescue { started: true, alone: false };
    memory.settle(vec![Settlement::new(lost.id, lost.lease, rescue)]).await.unwrap();
    crate::until(async || log.len() >= 2).await;
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(at_once(&log).1, 1, "{:?}", log.taken());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_whose_task_another_node_took_is_stopped() {
    let (memory, log) = (Memory::new(), Log::default());
    let runtime = two_queues(&memory, &log, 2).await;
    held::dispatch(3000).on(&runtime).await.unwrap();
    crate::until(async || log.len() == 1).await;
    let other = Node::new([].into(), vec![]);
    memory.join(other.clone()).await.unwrap();
    let seen = memory.peers(other.id).await.unwrap()[0];
    memory.seize(seen, other.id, 1).await.unwrap();
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(log.taken(), ["in", "out"]);
}

#[tokio::test(start_paused = true)]
async fn what_storage_believes_we_hold_and_we_do_not_is_given_back() {
    let (memory, log) = (Memory::new(), Log::default());
    let runtime = two_queues(&memory, &log, 2).await;
    tokio::time::sleep(SECOND).await;
    let task = held::dispatch(0).on(&runtime).await.unwrap();
    // As if the runtime had asked and the answer had been lost for good.
    let known = [Known { name: "held".into(), version: 1 }].into();
    let claim = Claim::new(1, runtime.health().await.node, known, 1).queue("held", 1, 0);
    assert_eq!(memory.claim(claim).await.unwrap().tasks.len(), 1);
    tokio::time::timeout(5 * SECOND, task.output()).await.unwrap().unwrap();
    assert_eq!(memory.task(task.id()).await.unwrap().unwrap().losses, 0);
}

#[tokio::test(start_paused = true)]
async fn a_suspect_runs_alone() {
    let (memory, log) = (Memory::new(), Log::default());
    let id = make_suspect(&memory, 5).await;
    let runtime = two_queues(&memory, &log, 4).await;
    crate::until(async || log.len() == 1).await;
    let other = held::dispatch(0).on(&runtime).await.unwrap();
    other.output().await.unwrap();
    assert_eq!(log.taken(), ["in", "out", "in", "out"]);
    assert_eq!(memory.task(id).await.unwrap().unwrap().state, TaskState::Completed);
}

#[tokio::test(start_paused = true)]
async fn tasks_taken_ahead_are_marked_when_they_run_cancelled_while_they_wait_and_given_back_in_time()
 {
    let (memory, log) = (Memory::new(), Log::default());
    let runtime = two_queues(&memory, &log, 4).await;
    let millis = std::iter::repeat_n(1, 100).chain([20_000; 4]).chain([1; 2]);
    let tasks = evertask::dispatch_all(millis.map(wide::new)).on(&runtime).await.unwrap();
    let [.., long, cancelled, waiting] = &tasks[..] else { unreachable!() };
    crate::until(async || log.len() == 100).await;
    tokio::time::sleep(SECOND / 2).await;
    let info = async |id| memory.task(id).await.unwrap().unwrap();
    assert_eq!(info(long.id()).await.started, None, "it was taken ahead");
    assert_eq!(info(waiting.id()).await.state, TaskState::Running, "and so is this one");
    assert_eq!(cancelled.cancel().await.unwrap(), Cancel::Asked);
    tokio::time::sleep(SECOND / 10).await;
    assert_eq!(info(cancelled.id()).await.state, TaskState::Cancelled);
    tokio::time::sleep(2 * SECOND).await;
    assert!(info(long.id()).await.started.is_some());
    assert_eq!(info(waiting.id()).await.state, TaskState::Pending);
    waiting.output().await.unwrap();
    assert_eq!(info(waiting.id()).await.attempts, []);
}
