//! What happens while a handler runs, and to the task when it ends: retries, timeouts, cancels, panics.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use evertask::{
    AttemptEnd, Backoff, Cancel, Context, Dispatched, Handler, OutputError, ResultExt, Retention,
    Runtime, State, TaskError, TaskHandle, TaskInfo, TaskState, storage::Memory,
};

use crate::log::Log;

const SECOND: Duration = Duration::from_secs(1);

async fn node<H: Handler>(log: &Log) -> Runtime {
    let builder = Runtime::builder().storage(Memory::new()).discover(false).handler::<H>();
    builder.state(log.clone()).start().await.unwrap()
}

async fn info<T: Handler>(task: &TaskHandle<T>) -> TaskInfo {
    task.info().await.unwrap().unwrap()
}

async fn failed<T: Handler>(task: &TaskHandle<T>) -> String {
    match task.output().await {
        Err(OutputError::Failed { error, .. }) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("completed"),
    }
}

#[evertask::handler(retries = 2, backoff = "fixed(10s)", jitter = false)]
async fn fail_twice(log: State<Log>, ctx: Context) -> Result<u32, String> {
    log.add(format!("{}", ctx.attempt()));
    if ctx.attempt() < 3 { Err(format!("not yet {}", ctx.attempt())) } else { Ok(ctx.attempt()) }
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_is_tried_again_after_its_stored_delay() {
    let log = Log::default();
    let runtime = node::<fail_twice>(&log).await;
    let start = tokio::time::Instant::now();
    let task = fail_twice::dispatch().await.unwrap();
    crate::until(async || {
        info(&task).await.attempt == 1 && info(&task).await.state == TaskState::Pending
    })
    .await;
    assert_eq!(runtime.health().await.running, 0, "a waiting task has no slot");
    assert_eq!(task.output().await.unwrap(), 3);
    let took = start.elapsed();
    assert!(took >= 20 * SECOND && took < 21 * SECOND, "{took:?}");
    assert_eq!(log.taken(), ["1", "2", "3"]);
    let attempts = info(&task).await.attempts;
    let told: Vec<_> =
        attempts.iter().map(|a| (a.attempt, a.end, a.error.as_deref().unwrap())).collect();
    assert_eq!(told, [(1, AttemptEnd::Failed, "not yet 1"), (2, AttemptEnd::Failed, "not yet 2")]);
}

#[tokio::test(start_paused = true)]
async fn no_attempts_left_means_failed_and_a_retry_by_hand_starts_anew() {
    let log = Log::default();
    let runtime = node::<fail_twice>(&log).await;
    let task = fail_twice::dispatch().retries(1).await.unwrap();
    assert_eq!(failed(&task).await, "not yet 2");
    assert_eq!(info(&task).await.attempt, 2);
    runtime.retry(task.id()).await.unwrap();
    assert_eq!(failed(&task).await, "not yet 2");
    assert_eq!(log.taken(), ["1", "2", "1", "2"]);
}

#[evertask::handler(retries = 5, retry_if = worth_it)]
async fn choosy(kind: String, log: State<Log>) -> Result<(), std::io::Error> {
    log.add(&kind);
    let kind = if kind == "busy" {
        std::io::ErrorKind::ResourceBusy
    } else {
        std::io::ErrorKind::NotFound
    };
    Err(std::io::Error::new(kind, "no"))
}

fn worth_it(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::ResourceBusy
}

#[tokio::test(start_paused = true)]
async fn retry_if_sees_the_handlers_own_error() {
    let log = Log::default();
    let _runtime = node::<choosy>(&log).await;
    failed(&choosy::dispatch("gone").await.unwrap()).await;
    assert_eq!(log.taken(), ["gone"]);
    failed(&choosy::dispatch("busy").await.unwrap()).await;
    assert_eq!(log.len(), 1 + 6);
}

#[evertask::handler(retries = 3)]
async fn wishes(wish: String, log: State<Log>, ctx: Context) -> Result<(), TaskError> {
    log.add(&wish);
    match (wish.as_str(), log.len()) {
        ("permanent", _) => Err("bad address").permanent(),
        ("later", 1) => Err(TaskError::retry_after(500 * SECOND, "busy")),
        ("snooze", 1..=9) => Err(TaskError::snooze(100 * SECOND)),
        ("cancel", _) => Err(TaskError::cancel("account closed")),
        _ => {
            log.add(format!("attempt {}", ctx.attempt()));
            Ok(())
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_error_says_what_is_to_become_of_the_task() {
    let run = async |wish: &str| {
        let log = Log::default();
        let _runtime = node::<wishes>(&log).await;
        let start = tokio::time::Instant::now();
        let task = wishes::dispatch(wish).on(&_runtime).await.unwrap();
        let output = task.output().await.map_err(|error| error.to_string());
        (output, start.elapsed().as_secs(), log.taken())
    };
    let (output, _, log) = run("permanent").await;
    assert!(output.unwrap_err().ends_with("failed: bad address"));
    assert_eq!(log, ["permanent"]);
    let (output, took, log) = run("later").await;
    assert_eq!((output, took, log.last().unwrap().as_str()), (Ok(()), 500, "attempt 2"));
    let (output, took, log) = run("snooze").await;
    assert_eq!((output, took), (Ok(()), 900));
    assert_eq!(log.last().unwrap(), "attempt 1", "snoozes spend no attempt");
    let (output, _, _) = run("cancel").await;
    assert!(output.unwrap_err().ends_with("was cancelled: account closed"));
}

#[evertask::handler(retries = 0)]
async fn panic_there(how: String) {
    tokio::task::yield_now().await;
    panic!("no {how}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_attempt_with_message_and_place() {
    let _runtime = node::<panic_there>(&Log::default()).await;
    let task = panic_there::dispatch("way").await.unwrap();
    let error = failed(&task).await;
    assert!(
        error.starts_with("panicked at ")
            && error.contains("attempt.rs:")
            && error.ends_with(": no way"),
        "{error}"
    );
    assert_eq!(info(&task).await.attempts[0].end, AttemptEnd::Panicked);
}

/// Tells the log when it is dropped.
struct Dropped(Log, &'static str);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.add(self.1);
    }
}

#[evertask::handler(timeout = "5s", retries = 1, backoff = "fixed(1s)", jitter = false)]
async fn too_slow(log: State<Log>, ctx: Context) {
    let _dropped = Dropped(Log::clone(&log), "dropped");
    let child = Dropped(Log::clone(&log), "child dropped");
    ctx.spawn(async move {
        let _child = child;
        std::future::pending::<()>().await;
    });
    tokio::task::yield_now().await;
    std::future::pending::<()>().await;
}

#[tokio::test(start_paused = true)]
async fn a_timeout_drops_the_future_and_what_it_spawned_before_it_is_recorded() {
    let log = Log::default();
    let _runtime = node::<too_slow>(&log).await;
    let start = tokio::time::Instant::now();
    let task = too_slow::dispatch().await.unwrap();
    assert_eq!(failed(&task).await, "took longer than its timeout of 5s");
    assert_eq!(log.taken(), ["dropped", "child dropped", "dropped", "child dropped"]);
    assert_eq!(start.elapsed().as_secs(), 11);
    assert_eq!(info(&task).await.attempts[0].end, AttemptEnd::TimedOut);
}

#[evertask::handler]
async fn spawns_on(log: State<Log>, ctx: Context) {
    let (late, log) = (ctx.clone(), Log::clone(&log));
    // It escapes the attempt; what it gives to the context then must not.
    tokio::spawn(async move {
        tokio::time::sleep(SECOND).await;
        let child = Dropped(log.clone(), "child dropped");
        late.spawn(async move {
            tokio::time::sleep(SECOND).await;
            child.0.add("child ran");
        });
        tokio::time::sleep(5 * SECOND).await;
        log.add("end");
    });
}

#[tokio::test(start_paused = true)]
async fn nothing_is_spawned_for_an_attempt_that_is_over() {
    let log = Log::default();
    let _runtime = node::<spawns_on>(&log).await;
    spawns_on::dispatch().await.unwrap().output().await.unwrap();
    crate::until(async || log.taken().last().is_some_and(|line| line == "end")).await;
    assert_eq!(log.taken(), ["child dropped", "end"]);
}

#[evertask::handler]
async fn wait_for_cancel(polite: bool, log: State<Log>, ctx: Context) {
    let _dropped = Dropped(Log::clone(&log), "dropped");
    log.add("started");
    if polite {
        ctx.cancelled().await;
        tokio::time::sleep(SECOND / 2).await;
        log.add("tidied up");
        return;
    }
    std::future::pending::<()>().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_stops_the_handler_and_gives_a_moment_to_those_who_asked() {
    for (polite, left) in
        [(false, vec!["started", "dropped"]), (true, vec!["started", "tidied up", "dropped"])]
    {
        let log = Log::default();
        let runtime = node::<wait_for_cancel>(&log).await;
        let task = wait_for_cancel::dispatch(polite).on(&runtime).await.unwrap();
        crate::until(async || log.len() == 1).await;
        let told = tokio::time::Instant::now();
        assert_eq!(runtime.cancel(task.id()).await.unwrap(), Cancel::Asked);
        assert!(matches!(task.output().await, Err(OutputError::Cancelled { .. })));
        assert_eq!(told.elapsed() >= SECOND / 2, polite, "others have no such moment");
        assert_eq!(log.taken(), left, "and it was gone before that was recorded");
        assert_eq!(runtime.cancel(task.id()).await.unwrap(), Cancel::TooLate(TaskState::Cancelled));
        assert_eq!(info(&task).await.state, TaskState::Cancelled);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_an_attempt_on_another_node() {
    let (memory, log) = (Memory::new(), Log::default());
    let builder = || {
        let builder = Runtime::builder().storage(memory.clone()).discover(false);
        builder.handler::<wait_for_cancel>().state(log.clone())
    };
    let (_node, client) = (builder().start().await.unwrap(), builder().client().await.unwrap());
    let task = wait_for_cancel::dispatch(false).on(&client).await.unwrap();
    crate::until(async || log.len() == 1).await;
    assert_eq!(task.cancel().await.unwrap(), Cancel::Asked);
    let output = tokio::time::timeout(SECOND, task.output()).await.unwrap();
    assert!(matches!(output, Err(OutputError::Cancelled { .. })));
    assert_eq!(log.taken(), ["started", "dropped"]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_pending_task_never_runs_and_a_finished_one_stays_finished() {
    let log = Log::default();
    let runtime = node::<fail_twice>(&log).await;
    let task = fail_twice::dispatch().after(60 * SECOND).await.unwrap();
    assert_eq!(task.cancel().await.unwrap(), Cancel::Done);
    tokio::time::sleep(120 * SECOND).await;
    assert_eq!(log.len(), 0);
    let task = fail_twice::dispatch().await.unwrap();
    task.output().await.unwrap();
    assert_eq!(task.cancel().await.unwrap(), Cancel::TooLate(TaskState::Completed));
    assert_eq!(info(&task).await.state, TaskState::Completed);
    assert_eq!(runtime.cancel(evertask::TaskId::new()).await.unwrap(), Cancel::Unknown);
}

#[evertask::handler]
async fn own_cancelled_error() -> Result<(), String> {
    Err("operation cancelled".into())
}

#[tokio::test(start_paused = true)]
async fn cancelled_is_what_we_cancelled_not_what_an_error_is_called() {
    let _runtime = node::<own_cancelled_error>(&Log::default()).await;
    let task = own_cancelled_error::dispatch().retries(0).await.unwrap();
    assert_eq!(failed(&task).await, "operation cancelled");
}

#[evertask::handler]
async fn next_one(text: String, log: State<Log>) {
    log.add(text);
}

#[evertask::handler(retries = 1, backoff = "fixed(1s)")]
async fn chain(log: State<Log>, ctx: Context) -> Result<(), String> {
    ctx.dispatch_on_success(next_one::dispatch(format!("after attempt {}", ctx.attempt())))
        .unwrap();
    log.add("chain");
    if ctx.attempt() == 1 { Err("first".into()) } else { Ok(()) }
}

#[tokio::test(start_paused = true)]
async fn what_follows_on_success_is_stored_with_the_completion_only() {
    let log = Log::default();
    let builder = Runtime::builder().storage(Memory::new()).discover(false).state(log.clone());
    let _runtime = builder.handler::<chain>().handler::<next_one>().start().await.unwrap();
    chain::dispatch().await.unwrap().output().await.unwrap();
    crate::until(async || log.len() == 3).await;
    assert_eq!(log.taken(), ["chain", "chain", "after attempt 2"]);
}

#[evertask::handler]
async fn has_many_children(ctx: Context) -> Result<(), String> {
    let child = || ctx.dispatch_on_success(next_one::dispatch("child"));
    (0..=1_000).try_for_each(|_| child().map(drop)).map_err(|error| error.to_string())
}

#[tokio::test(start_paused = true)]
async fn who_has_too_many_to_dispatch_on_success_is_told_what_to_do() {
    let builder = Runtime::builder().storage(Memory::new()).discover(false).state(Log::default());
    let builder = builder.handler::<has_many_children>().handler::<next_one>();
    let _runtime = builder.start().await.unwrap();
    let error = failed(&has_many_children::dispatch().retries(0).await.unwrap()).await;
    assert!(error.starts_with("1001 tasks on the success of one attempt"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_ended_task_is_kept_as_long_as_its_handlers_retention_says() {
    let builder = Runtime::builder().storage(Memory::new()).discover(false).state(Log::default());
    let builder = builder.handler::<next_one>();
    let runtime =
        builder.retention_of::<next_one>(Retention::default().ephemeral()).start().await.unwrap();
    let task = next_one::dispatch("gone").await.unwrap();
    assert!(matches!(task.output().await, Err(OutputError::Unknown { .. })));
    assert!(runtime.task(task.id()).await.unwrap().is_none());
}

static AT_ONCE: AtomicU32 = AtomicU32::new(0);
static MOST: AtomicU32 = AtomicU32::new(0);

#[evertask::handler(queue = "narrow")]
async fn count_at_once() {
    MOST.fetch_max(AT_ONCE.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
    tokio::time::sleep(SECOND).await;
    AT_ONCE.fetch_sub(1, Ordering::SeqCst);
}

#[tokio::test(start_paused = true)]
async fn a_queue_runs_as_many_at_once_as_it_was_told() {
    let builder =
        Runtime::builder().storage(Memory::new()).discover(false).handler::<count_at_once>();
    let _runtime =
        builder.concurrency(50).queue("narrow", |q| q.concurrency(3)).start().await.unwrap();
    let tasks = evertask::dispatch_all((0..30).map(|_| count_at_once::new())).await.unwrap();
    let start = tokio::time::Instant::now();
    for task in tasks {
        task.output().await.unwrap();
    }
    assert_eq!(MOST.load(Ordering::SeqCst), 3);
    assert_eq!(start.elapsed().as_secs(), 10, "and no fewer");
}

type Kept = Arc<Mutex<Vec<Context>>>;

#[evertask::handler]
async fn plus_one(n: u32, kept: State<Kept>, ctx: Context) -> u32 {
    if n.is_multiple_of(5) {
        kept.lock().unwrap().push(ctx);
    }
    n + 1
}

#[evertask::handler(retries = 0)]
async fn plus_two(n: u32) -> u32 {
    assert_ne!(n % 70, 0, "this one panics");
    n + 2
}

#[tokio::test(start_paused = true)]
async fn what_ran_in_a_slot_before_is_nothing_to_the_next_task() {
    let builder = Runtime::builder().storage(Memory::new()).discover(false);
    let kept = Kept::default();
    let builder = builder.handler::<plus_one>().handler::<plus_two>().state(Arc::clone(&kept));
    let _runtime = builder.concurrency(1).start().await.unwrap();
    let (mut ones, mut twos) = (Vec::new(), Vec::new());
    for n in 0..300 {
        if n % 3 == 0 {
            ones.push((n, plus_one::dispatch(n).await.unwrap()));
        } else {
            twos.push((n, plus_two::dispatch(n).await.unwrap()));
        }
    }
    for (n, task) in &ones {
        assert_eq!(task.output().await.unwrap(), n + 1);
    }
    for (n, task) in &twos {
        match task.output().await {
            Ok(sum) => assert_eq!(sum, n + 2),
            Err(error) => assert!(n % 70 == 0, "{n}: {error}"),
        }
    }
    let ids = |contexts: &[Context]| contexts.iter().map(Context::id).collect::<Vec<_>>();
    let keeping: Vec<_> =
        ones.iter().filter(|(n, _)| n.is_multiple_of(5)).map(|(_, task)| task.id()).collect();
    assert_eq!(ids(&kept.lock().unwrap()), keeping);
}

#[evertask::handler(backoff = "fixed(1s)")]
async fn self_key(log: State<Log>, ctx: Context) {
    let again = self_key::dispatch().key("me").await.unwrap();
    log.add(format!("{:?} {}", again.dispatched(), again.id() == ctx.id()));
}

#[tokio::test(start_paused = true)]
async fn a_handler_dispatches_to_its_own_runtime_and_its_own_key_is_busy() {
    let log = Log::default();
    let one = node::<self_key>(&log).await;
    let _two = node::<self_key>(&Log::default()).await;
    let task = self_key::dispatch().key("me").on(&one).await.unwrap();
    assert_eq!(task.dispatched(), Dispatched::Created);
    task.output().await.unwrap();
    assert_eq!(log.taken(), ["Existing true"]);
}

#[tokio::test(start_paused = true)]
async fn the_settings_of_queue_and_runtime_fill_what_the_handler_leaves_open() {
    let log = Log::default();
    let builder =
        Runtime::builder().storage(Memory::new()).discover(false).handler::<own_cancelled_error>();
    let backoff = Backoff::fixed(SECOND).without_jitter();
    let _runtime = builder
        .state(log)
        .queue("default", |q| q.retries(1))
        .retries(7)
        .backoff(backoff)
        .start()
        .await
        .unwrap();
    let task = own_cancelled_error::dispatch().await.unwrap();
    failed(&task).await;
    assert_eq!(info(&task).await.attempt, 2);
}

#[evertask::handler]
async fn shared_state(counter: State<Arc<AtomicU32>>) -> u32 {
    counter.fetch_add(1, Ordering::SeqCst)
}

#[tokio::test]
async fn a_missing_state_is_an_error_at_start_that_names_handler_and_type() {
    let builder =
        || Runtime::builder().storage(Memory::new()).discover(false).handler::<shared_state>();
    let error = builder().start().await.unwrap_err().to_string();
    assert!(error.starts_with("handler `shared_state` ("), "{error}");
    assert!(
        error.contains("AtomicU32") && error.contains("add `.state(..)` to the builder"),
        "{error}"
    );
    builder().client().await.expect("a client asks for no state");
    builder()
        .only(["elsewhere"])
        .start()
        .await
        .expect("nor does a node that does not serve its queue");
}
