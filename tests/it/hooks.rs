//! Hooks: what they get, when, and that they change nothing.

use std::time::Duration;

use evertask::{Context, Failure, OutputError, Runtime, State, storage::Memory};

use crate::log::Log;

#[evertask::handler(
    retries = 1,
    backoff = "fixed(1s)",
    on_started = began,
    on_completed = finished,
    on_retry = again,
    on_failed = failed,
    on_cancelled = cancelled
)]
async fn watched(goal: String, ctx: Context) -> Result<usize, String> {
    match goal.as_str() {
        "hang" => std::future::pending().await,
        "second" if ctx.attempt() == 2 => Ok(2),
        "first" => Ok(1),
        _ => Err(format!("no {goal}")),
    }
}

#[evertask::handler(on_completed = dawdle)]
async fn quick(hook: u64) {
    let _for_the_hook = hook;
}

async fn dawdle(payload: &quick, ctx: Context, (): &()) {
    tokio::time::sleep(Duration::from_secs(payload.hook)).await;
    log(&ctx).add("dawdled");
}

#[tokio::test(start_paused = true)]
async fn a_hook_is_stopped_after_its_time_and_a_shutdown_waits_for_it() {
    let log = Log::default();
    let builder = Runtime::builder().storage(Memory::new()).discover(false).state(log.clone());
    let runtime = builder.handler::<quick>().start().await.unwrap();
    quick::dispatch(40).on(&runtime).await.unwrap().output().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(log.len(), 0, "a hook has 30 seconds");
    quick::dispatch(10).on(&runtime).await.unwrap().output().await.unwrap();
    assert_eq!(log.len(), 0);
    runtime.shutdown().await.unwrap();
    assert_eq!(log.taken(), ["dawdled"]);
}

fn log(ctx: &Context) -> State<Log> {
    ctx.state().unwrap()
}

async fn began(payload: &watched, ctx: Context) {
    log(&ctx).add(format!("began {} {}", payload.goal, ctx.attempt()));
}

async fn finished(payload: &watched, ctx: Context, output: &usize) -> Result<(), String> {
    log(&ctx).add(format!("finished {} with {output}", payload.goal));
    Err("a hook's error changes nothing".into())
}

async fn again(payload: &watched, ctx: Context, failure: &Failure) {
    log(&ctx).add(format!("again {}: {failure}", payload.goal));
}

async fn failed(payload: &watched, ctx: Context, failure: &Failure) {
    log(&ctx).add(format!("failed {}: {failure}", payload.goal));
    panic!("nor does its panic");
}

async fn cancelled(payload: &watched, ctx: Context) {
    log(&ctx).add(format!("cancelled {}", payload.goal));
}

#[tokio::test(start_paused = true)]
async fn every_hook_is_called_once_with_what_it_wants_to_know() {
    let log = Log::default();
    let builder = Runtime::builder().storage(Memory::new()).discover(false).state(log.clone());
    let runtime = builder.handler::<watched>().start().await.unwrap();

    assert_eq!(watched::dispatch("first").await.unwrap().output().await.unwrap(), 1);
    crate::until(async || log.len() == 2).await;
    assert_eq!(log.taken(), ["began first 1", "finished first with 1"]);

    log.clear();
    assert_eq!(watched::dispatch("second").await.unwrap().output().await.unwrap(), 2);
    crate::until(async || log.len() == 4).await;
    let told =
        ["began second 1", "again second: no second", "began second 2", "finished second with 2"];
    assert_eq!(log.taken(), told);

    log.clear();
    let task = watched::dispatch("never").await.unwrap();
    assert!(matches!(task.output().await, Err(OutputError::Failed { .. })));
    crate::until(async || log.len() == 4).await;
    let told =
        ["began never 1", "again never: no never", "began never 2", "failed never: no never"];
    assert_eq!(log.taken(), told);

    log.clear();
    let task = watched::dispatch("hang").await.unwrap();
    crate::until(async || log.len() == 1).await;
    task.cancel().await.unwrap();
    crate::until(async || log.len() == 2).await;
    assert_eq!(log.taken(), ["began hang 1", "cancelled hang"]);
    // A task that ends without an attempt of its own is told of, too.
    log.clear();
    let hour = Duration::from_secs(3600);
    watched::dispatch("pending").after(hour).await.unwrap().cancel().await.unwrap();
    crate::until(async || log.len() == 1).await;
    watched::dispatch("stale").after(hour).expires(hour / 2).await.unwrap();
    crate::until(async || log.len() == 2).await;
    assert_eq!(log.taken(), ["cancelled pending", "cancelled stale"]);
    tokio::time::timeout(Duration::from_secs(60), runtime.shutdown()).await.unwrap().unwrap();
}
