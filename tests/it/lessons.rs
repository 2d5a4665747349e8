//! What other schedulers had to learn about counts, ends and keys, release by release. Each is one of the mistakes this one does not
//! make. Their numbers go on from those of `evertask-schedule`, where the dates are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use evertask::{
    Context, DispatchError, Dispatched, EventKind, Page, Recurring, Runtime, ScheduleInfo,
    ScheduleState, State, TaskFilter, TaskState,
    schedule::every_minute,
    storage::{FullStorage, Memory, SchedulePage},
};

use crate::{
    faulty::{Fault, Faulty},
    log::Log,
    ticks::rewrite,
    until,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Takes as long as it is told and then does as it is told, and notes its tick.
#[evertask::handler(name = "mark", retries = 0)]
async fn act(how: String, ctx: Context, log: State<Log>) -> Result<(), String> {
    let at = ctx.scheduled_for().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    log.add(format!("{how} {}", at.unwrap_or_default().as_secs()));
    match how.as_str() {
        "fail" => Err("no".to_owned()),
        "slow" => {
            tokio::time::sleep(150 * SECOND).await;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Dispatches itself again, under the key that it holds itself.
#[evertask::handler]
async fn chain(ctx: Context, log: State<Log>) -> Result<(), DispatchError> {
    let next = chain::dispatch().key("chain").on(&ctx.runtime()).await?;
    log.add(format!("{:?}", next.dispatched()));
    Ok(())
}

async fn node(storage: impl FullStorage, log: &Log) -> Runtime {
    let builder = Runtime::builder().storage(storage).discover(false).state(log.clone());
    builder.handler::<act>().handler::<chain>().start().await.unwrap()
}

fn each_minute(how: &str, runtime: &Runtime) -> Recurring<act> {
    act::dispatch(how).every(every_minute()).key("k").on(runtime)
}

async fn info(runtime: &Runtime) -> ScheduleInfo {
    runtime.schedules().get("mark", "k").await.unwrap().expect("the series is stored")
}

/// How many tasks the schedule has made.
async fn made(runtime: &Runtime) -> u64 {
    let mut filter = TaskFilter::default();
    filter.tag = Some((evertask::SCHEDULE_TAG.to_owned(), "k".to_owned()));
    runtime.tasks(filter, Page { before: None, limit: 1_000 }).await.unwrap().len() as u64
}

#[tokio::test(start_paused = true)]
async fn t18_t19_runs_are_the_tasks_that_were_made_whatever_became_of_them_and_skips_are_none() {
    for (how, at_least) in [("fail", 3 * MINUTE), ("slow", 9 * MINUTE)] {
        let (storage, log) = (Memory::new(), Log::default());
        let runtime = node(storage, &log).await;
        each_minute(how, &runtime).max_runs(4).await.unwrap();
        let start = tokio::time::Instant::now();
        until(async || info(&runtime).await.state == ScheduleState::Ended).await;
        // Of a slow one each third tick makes a task; the two between do not use up its runs.
        assert!(start.elapsed() >= at_least, "{how}: {:?}", start.elapsed());
        assert_eq!((info(&runtime).await.runs, made(&runtime).await), (4, 4), "{how}");
        until(async || log.len() == 4).await;
    }
}

#[tokio::test(start_paused = true)]
async fn t20_the_end_is_no_tick_any_more_not_even_the_first() {
    let (storage, log) = (Memory::new(), Log::default());
    let runtime = node(storage, &log).await;
    let first = each_minute("ok", &runtime).await.unwrap().next.unwrap();
    runtime.schedules().remove("mark", "k").await.unwrap();
    let refused = each_minute("ok", &runtime).until(first).await.unwrap_err();
    assert!(matches!(refused, DispatchError::NeverRuns { .. }), "{refused}");
    each_minute("ok", &runtime).until(first + MINUTE).await.unwrap();
    tokio::time::sleep(HOUR).await;
    assert_eq!((log.len(), info(&runtime).await.state), (1, ScheduleState::Ended));
}

/// Each minute a tick on a storage with this fault at every third change of a schedule: the ticks, and whether each came once.
async fn with_fault(fault: Fault) -> (Vec<String>, u64, u64) {
    let (n, log) = (Arc::new(AtomicUsize::new(0)), Log::default());
    let storage = Faulty::when(move |call, _| {
        let change = call == "change_schedules";
        (change && n.fetch_add(1, Ordering::SeqCst) % 3 == 2).then_some(fault)
    });
    let runtime = node(storage, &log).await;
    each_minute("ok", &runtime).await.unwrap();
    tokio::time::sleep(30 * MINUTE + 30 * SECOND).await;
    (log.taken(), info(&runtime).await.runs, made(&runtime).await)
}

#[tokio::test(start_paused = true)]
async fn t21_t22_a_tick_and_its_task_are_one_write_whatever_becomes_of_the_answer() {
    for fault in [Fault::Fails, Fault::LosesReply, Fault::Stalls, Fault::StallsAfter, Fault::Late] {
        let (mut ticks, runs, made) = with_fault(fault).await;
        let all = ticks.len();
        ticks.sort();
        ticks.dedup();
        assert_eq!(all, ticks.len(), "{fault:?}: one came twice: {ticks:?}");
        assert!(all == 30 || all == 31, "{fault:?}: {all} ticks in 30 minutes: {ticks:?}");
        assert_eq!((runs, made), (all as u64, all as u64), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn t23_a_series_whose_last_tick_makes_no_task_ends_all_the_same() {
    let (storage, log) = (Memory::new(), Log::default());
    let runtime = node(storage, &log).await;
    let first = each_minute("slow", &runtime).await.unwrap().next.unwrap();
    // The second tick comes while the first one's task is at work, and is the last.
    each_minute("slow", &runtime).until(first + MINUTE + SECOND).await.unwrap();
    tokio::time::sleep(2 * MINUTE + 5 * SECOND).await;
    let info = info(&runtime).await;
    assert_eq!((info.state, info.next, info.runs), (ScheduleState::Ended, None, 1));
}

#[tokio::test(start_paused = true)]
async fn t24_the_count_of_runs_stops_at_its_largest_number() {
    let (storage, log) = (Memory::new(), Log::default());
    let runtime = node(storage.clone(), &log).await;
    each_minute("ok", &runtime).await.unwrap();
    rewrite(&storage, "k", r#""runs":0"#, &format!(r#""runs":{}"#, u64::MAX - 1)).await;
    tokio::time::sleep(5 * MINUTE).await;
    runtime.schedules().run_now("mark", "k").await.unwrap();
    assert!(log.len() >= 4);
    assert_eq!(
        (info(&runtime).await.runs, info(&runtime).await.state),
        (u64::MAX, ScheduleState::Active)
    );
}

#[tokio::test(start_paused = true)]
async fn t25_memory_is_a_storage_like_others() {
    let (storage, log) = (Memory::new(), Log::default());
    let runtime = node(storage, &log).await;
    each_minute("ok", &runtime).max_runs(2).await.unwrap();
    tokio::time::sleep(HOUR).await;
    assert_eq!((log.len(), info(&runtime).await.state), (2, ScheduleState::Ended));
}

#[tokio::test(start_paused = true)]
async fn t30_after_a_failed_run_the_rhythm_is_the_same() {
    let (storage, log) = (Memory::new(), Log::default());
    let runtime = node(storage, &log).await;
    each_minute("fail", &runtime).await.unwrap();
    tokio::time::sleep(5 * MINUTE + 30 * SECOND).await;
    let at = |line: &String| line.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
    let ticks: Vec<u64> = log.taken().iter().map(at).collect();
    assert!(ticks.len() >= 5 && ticks.windows(2).all(|pair| pair[1] - pair[0] == 60), "{ticks:?}");
}

#[tokio::test(start_paused = true)]
async fn k01_k09_who_stores_one_key_at_the_same_time_makes_one_series_and_resets_nothing() {
    let (storage, log) = (Memory::new(), Log::default());
    let runtime = node(storage, &log).await;
    each_minute("ok", &runtime).await.unwrap();
    tokio::time::sleep(3 * MINUTE).await;
    let before = info(&runtime).await;
    let stores: Vec<_> = (0..20)
        .map(|n| each_minute("ok", &runtime).max_runs(100 + n))
        .map(|store| tokio::spawn(store.into_future()))
        .collect();
    for store in stores {
        store.await.unwrap().unwrap();
    }
    let after = info(&runtime).await;
    assert_eq!((after.runs, after.next, after.last), (before.runs, before.next, before.last));
    assert_eq!(runtime.schedules().list(SchedulePage::default()).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn k02_k03_a_task_that_dispatches_itself_under_its_own_key_is_told_that_it_is_in_the_way() {
    let (storage, log) = (Memory::new(), Log::default());
    let runtime = node(storage, &log).await;
    let mut events = runtime.events();
    let first = chain::dispatch().key("chain").on(&runtime).await.unwrap();
    first.output().await.unwrap();
    assert_eq!(log.taken(), ["Existing"], "nothing was taken in and dropped");
    let mut kinds = Vec::new();
    while !kinds.contains(&EventKind::Completed) {
        kinds.push(events.next().await.unwrap().kind);
    }
    assert!(kinds.contains(&EventKind::KeyBusy), "{kinds:?}");
}

#[tokio::test(start_paused = true)]
async fn k04_a_task_under_the_key_of_a_series_leaves_the_series_alone() {
    let (storage, log) = (Memory::new(), Log::default());
    let runtime = node(storage, &log).await;
    each_minute("ok", &runtime).await.unwrap();
    let once = act::dispatch("once").key("k").on(&runtime).await.unwrap();
    assert_eq!(once.dispatched(), Dispatched::Created);
    once.output().await.unwrap();
    tokio::time::sleep(3 * MINUTE).await;
    assert_eq!(info(&runtime).await.state, ScheduleState::Active);
    assert_eq!(log.taken().iter().filter(|line| line.starts_with("ok")).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn k05_k07_a_key_whose_task_has_ended_is_free_and_the_ended_one_stays() {
    let (storage, log) = (Memory::new(), Log::default());
    let runtime = node(storage, &log).await;
    let dispatch = async || act::dispatch("ok").key("once").on(&runtime).await.unwrap();
    let first = dispatch().await;
    first.output().await.unwrap();
    let second = dispatch().await;
    assert_ne!(second.id(), first.id());
    // What has ended was not put aside for it: it can still be looked at, but not be run beside it.
    assert_eq!(first.info().await.unwrap().expect("it stays").state, TaskState::Completed);
    second.output().await.unwrap();
    runtime.retry(first.id()).await.unwrap();
    first.output().await.unwrap();
    assert_eq!(log.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn k06_of_many_at_once_one_is_stored_and_all_are_told_its_id() {
    let (storage, log) = (Memory::new(), Log::default());
    let runtime = node(storage, &log).await;
    let dispatches: Vec<_> = (0..20)
        .map(|_| act::dispatch("ok").key("one").after(HOUR).on(&runtime))
        .map(|dispatch| tokio::spawn(dispatch.into_future()))
        .collect();
    let mut ids = Vec::new();
    for dispatch in dispatches {
        ids.push(dispatch.await.unwrap().unwrap().id());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(log.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn k08_what_was_to_come_later_and_then_at_once_runs_once_as_said_last() {
    let (storage, log) = (Memory::new(), Log::default());
    let runtime = node(storage, &log).await;
    act::dispatch("later").key("one").after(HOUR).on(&runtime).await.unwrap();
    let now = act::dispatch("now").key("one").on(&runtime).await.unwrap();
    assert_eq!(now.dispatched(), Dispatched::Replaced);
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(log.taken(), ["now 0"]);
}

#[tokio::test(start_paused = true)]
async fn k10_an_empty_key_is_a_mistake_and_no_key_meets_no_other() {
    let (storage, log) = (Memory::new(), Log::default());
    let runtime = node(storage, &log).await;
    let refused = act::dispatch("ok").key("").on(&runtime).await.unwrap_err();
    assert!(matches!(refused, DispatchError::BadText(_)), "{refused}");
    let refused = act::dispatch("ok").every(HOUR).key("").on(&runtime).await.unwrap_err();
    assert!(matches!(refused, DispatchError::BadText(_)), "{refused}");
    for _ in 0..3 {
        act::dispatch("ok").on(&runtime).await.unwrap().output().await.unwrap();
    }
    assert_eq!(log.len(), 3);
}
