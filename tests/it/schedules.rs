//! Schedules in the engine: each tick once, on time, and what becomes of those that are not.

use std::time::{Duration, SystemTime};

use evertask::{
    Body, Context, DispatchError, Missed, Overlap, Runtime, ScheduleFault, ScheduleState, State,
    TaskState,
    schedule::{every, every_day, every_minute},
    storage::{
        Inspect, ManualClock, Memory, Page, ScheduleChange, SchedulePage, ScheduleRow, Storage,
        TaskFilter,
    },
};

use crate::{log::Log, ticks::storage_now};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Notes its tick, in seconds since 1970.
#[evertask::handler(retries = 0)]
async fn tick(what: String, ctx: Context, log: State<Log>) {
    let at = ctx.scheduled_for().map(|at| at.duration_since(SystemTime::UNIX_EPOCH).unwrap());
    log.add(format!("{what} {}", at.unwrap_or_default().as_secs()));
}

#[evertask::handler(retries = 0)]
async fn slow(log: State<Log>) {
    log.add("begun");
    tokio::time::sleep(150 * SECOND).await;
    log.add("ended");
}

#[evertask::handler(retries = 0)]
async fn fails(log: State<Log>) -> Result<(), String> {
    log.add("failed");
    Err("no".to_owned())
}

async fn node(storage: &Memory, log: &Log) -> Runtime {
    let builder = Runtime::builder().storage(storage.clone()).discover(false).state(log.clone());
    builder.handler::<tick>().handler::<slow>().handler::<fails>().start().await.unwrap()
}

/// What was noted of ticks, as seconds of the day.
fn ticks(log: &Log) -> Vec<u64> {
    let of = |line: &String| line.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
    log.taken().iter().map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn each_tick_makes_one_task_which_knows_its_instant_however_many_nodes_live() {
    let (storage, log) = (Memory::new(), Log::default());
    let nodes =
        [node(&storage, &log).await, node(&storage, &log).await, node(&storage, &log).await];
    let info = tick::dispatch("t").every(every_minute()).key("k").on(&nodes[0]).await.unwrap();
    assert_eq!((info.state.clone(), info.runs), (ScheduleState::Active, 0));
    assert_eq!(info.words, "every minute");
    tokio::time::sleep(10 * MINUTE + 30 * SECOND).await;
    let taken = ticks(&log);
    assert!(taken.len() == 10 || taken.len() == 11, "{taken:?}");
    assert!(taken.windows(2).all(|pair| pair[1] - pair[0] == 60), "each minute once: {taken:?}");
    assert!(taken.iter().all(|at| at % 60 == 0));
    let info = nodes[1].schedules().get("tick", "k").await.unwrap().unwrap();
    assert_eq!(info.runs, taken.len() as u64);
    assert_eq!(info.last_state, Some(TaskState::Completed));
    let mut filter = TaskFilter::default();
    filter.tag = Some((evertask::SCHEDULE_TAG.to_owned(), "k".to_owned()));
    assert_eq!(nodes[0].tasks(filter, Page::default()).await.unwrap().len(), taken.len());
}

#[tokio::test(start_paused = true)]
async fn a_schedule_of_an_hour_is_not_looked_for_in_between_and_is_on_time() {
    let (storage, log) = (Memory::new(), Log::default());
    let node = node(&storage, &log).await;
    let (start, now) = (tokio::time::Instant::now(), storage_now(&storage).await);
    let first = tick::dispatch("t").every(HOUR).key("k").start_now().on(&node).await.unwrap();
    assert_eq!(first.runs, 1);
    tokio::time::sleep(SECOND).await;
    assert_eq!(log.taken().len(), 1, "start_now runs at once");
    let next = node.schedules().get("tick", "k").await.unwrap().unwrap().next.unwrap();
    assert_eq!(Some(next), first.next);
    let wait = next.duration_since(now).unwrap();
    tokio::time::sleep_until(start + wait + SECOND).await;
    assert_eq!(log.taken().len(), 2, "and then as the schedule says");
}

#[tokio::test(start_paused = true)]
async fn storing_it_again_keeps_runs_and_place_and_takes_over_what_changed() {
    let (storage, log) = (Memory::new(), Log::default());
    let node = node(&storage, &log).await;
    let store = async |what: &str, rule: &str| {
        tick::dispatch(what).cron(rule).key("k").on(&node).await.unwrap()
    };
    let first = store("a", "0 * * * *").await;
    assert_eq!(store("a", "0 * * * *").await.next, first.next);
    tokio::time::sleep(2 * HOUR).await;
    let before = node.schedules().get("tick", "k").await.unwrap().unwrap();
    assert_eq!(before.runs, 2);
    let again = store("b", "0 * * * *").await;
    assert_eq!((again.runs, again.next), (2, before.next));
    log.clear();
    tokio::time::sleep(HOUR).await;
    assert!(log.taken()[0].starts_with("b "), "the new payload counts at once");
    let changed = store("b", "*/10 * * * *").await;
    assert_eq!(changed.runs, 3);
    let ten = Duration::from_secs(600);
    assert!(changed.next.unwrap() <= SystemTime::now() + HOUR * 3 + ten, "so does the new rule");
    log.clear();
    tokio::time::sleep(HOUR).await;
    assert_eq!(log.taken().len(), 6);
    assert_eq!(node.schedules().list(SchedulePage::default()).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_series_ends_after_its_runs_or_at_its_end_and_survives_failures() {
    let (storage, log) = (Memory::new(), Log::default());
    let node = node(&storage, &log).await;
    fails::dispatch().every(MINUTE).key("k").max_runs(3).on(&node).await.unwrap();
    let end = SystemTime::now() + 150 * SECOND;
    tick::dispatch("u").every(every(50).seconds()).key("u").until(end).on(&node).await.unwrap();
    tokio::time::sleep(HOUR).await;
    let info = node.schedules().get("fails", "k").await.unwrap().unwrap();
    assert_eq!((info.state, info.runs, info.next), (ScheduleState::Ended, 3, None));
    let lines = log.taken();
    assert_eq!(lines.iter().filter(|line| *line == "failed").count(), 3);
    let limited = lines.iter().filter(|line| line.starts_with('u')).count();
    assert!(limited == 2 || limited == 3, "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn ticks_that_overlap_are_skipped_or_made_or_take_the_place_of_the_one_before() {
    for (overlap, begun, ended) in [
        // One that takes 150 s and ticks each 60 s: at 0, 180, 360, …
        (Overlap::Skip, 4, 3),
        (Overlap::Allow, 10, 8),
        (Overlap::CancelPrevious, 10, 0),
    ] {
        let (storage, log) = (Memory::new(), Log::default());
        let node = node(&storage, &log).await;
        slow::dispatch().every(MINUTE).key("k").overlap(overlap).on(&node).await.unwrap();
        tokio::time::sleep(10 * MINUTE).await;
        let lines = log.taken();
        let count = |what: &str| lines.iter().filter(|line| *line == what).count();
        assert!(count("begun").abs_diff(begun) <= 1, "{overlap:?}: {lines:?}");
        assert!(count("ended").abs_diff(ended) <= 1, "{overlap:?}: {lines:?}");
        let runs = node.schedules().get("slow", "k").await.unwrap().unwrap().runs;
        assert_eq!(runs, count("begun") as u64, "skipped ticks are no runs");
    }
}

/// Runs a schedule of each hour for a moment, then nobody for ten hours and a half, then a node again.
async fn after_downtime(missed: Missed) -> usize {
    let clock = ManualClock::new();
    let (storage, log) = (Memory::with_clock(clock.clock()), Log::default());
    let first = node(&storage, &log).await;
    let hourly = tick::dispatch("t").every(HOUR).key("k").overlap(Overlap::Allow);
    hourly.missed(missed).on(&first).await.unwrap();
    first.shutdown().await.unwrap();
    let now = clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    clock.advance(Duration::from_secs(3600 - now % 3600 + 10 * 3600 + 1800));
    let second = node(&storage, &log).await;
    tokio::time::sleep(5 * SECOND).await;
    let next = second.schedules().get("tick", "k").await.unwrap().unwrap().next.unwrap();
    assert!(next > clock.now() && next <= clock.now() + HOUR, "on its own grid");
    assert_eq!(next.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() % 3600, 0);
    let ticks = ticks(&log);
    let unique: std::collections::BTreeSet<_> = ticks.iter().collect();
    assert_eq!(unique.len(), ticks.len());
    ticks.len()
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_skipped_made_once_or_made_up_for_within_a_window() {
    assert_eq!(after_downtime(Missed::Skip).await, 0);
    assert_eq!(after_downtime(Missed::Once).await, 1);
    assert_eq!(after_downtime(Missed::All(3 * HOUR)).await, 3);
    assert_eq!(after_downtime(Missed::All(30 * DAY)).await, 11);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_is_paused_resumed_skipped_run_now_and_removed() {
    let (storage, log) = (Memory::new(), Log::default());
    let node = node(&storage, &log).await;
    tick::dispatch("t").every(every_minute()).key("k").on(&node).await.unwrap();
    let schedules = node.schedules();
    let paused = schedules.pause("tick", "k").await.unwrap();
    assert_eq!((paused.state, paused.next), (ScheduleState::Paused, None));
    let again = tick::dispatch("t").every(every_minute()).key("k").on(&node).await.unwrap();
    assert_eq!(again.state, ScheduleState::Paused, "a start of the program resumes nothing");
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(log.taken(), Vec::<String>::new());
    let id = schedules.run_now("tick", "k").await.unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!(node.task(id).await.unwrap().unwrap().state, TaskState::Completed);
    log.clear();
    let resumed = schedules.resume("tick", "k").await.unwrap();
    let skipped = schedules.skip_next("tick", "k").await.unwrap();
    assert_eq!(skipped.next.unwrap(), resumed.next.unwrap() + MINUTE);
    assert_eq!(resumed.upcoming(3)[1..], skipped.upcoming(2)[..]);
    tokio::time::sleep(150 * SECOND).await;
    assert!(ticks(&log).len() <= 2 && !ticks(&log).is_empty());
    assert!(schedules.remove("tick", "k").await.unwrap());
    assert!(!schedules.remove("tick", "k").await.unwrap());
    let gone = schedules.pause("tick", "k").await.unwrap_err();
    assert!(matches!(gone, ScheduleFault::Unknown { .. }), "{gone}");
    log.clear();
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(log.taken(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_and_stores_nothing() {
    let (storage, log) = (Memory::new(), Log::default());
    let node = node(&storage, &log).await;
    let refused = async |dispatch: evertask::Recurring<tick>| {
        dispatch.key("k").on(&node).await.unwrap_err().to_string()
    };
    let t = || tick::dispatch("t");
    assert!(refused(t().cron("61 * * * *")).await.contains("minute"));
    assert!(refused(t().cron("0 0 30 2 *")).await.contains("day"));
    assert!(refused(t().every(every_day().at("25:00"))).await.contains("time of day"));
    assert!(refused(t().every(every(0).minutes())).await.contains("every"));
    assert!(refused(t().cron("0 3 * * *").tz("Europe/Rom")).await.contains("Europe/Rome"));
    let past = SystemTime::now() - HOUR;
    assert!(refused(t().every(HOUR).until(past)).await.contains("until"));
    assert!(refused(t().every(HOUR).max_runs(0)).await.contains("never"));
    let tagged = (0..20).fold(t(), |t, n| t.tag(n.to_string(), "v"));
    assert!(refused(tagged.every(HOUR)).await.contains("at most 19"), "one tag is the schedule's");
    let keyless = t().every(HOUR).on(&node).await.unwrap_err();
    assert!(matches!(keyless, DispatchError::ScheduleWithoutKey), "{keyless}");
    assert!(node.schedules().list(SchedulePage::default()).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_broken_is_set_aside_and_stops_no_other() {
    let (storage, log) = (Memory::new(), Log::default());
    let node = node(&storage, &log).await;
    for key in ["a rule", "a task", "sound"] {
        tick::dispatch(key).every(every_minute()).key(key).on(&node).await.unwrap();
    }
    for (key, was, is) in [("a rule", "v1 ", "v1 what "), ("a task", r#""default""#, r#""""#)] {
        let stored = storage.schedule("tick".to_owned(), key.to_owned()).await.unwrap().unwrap();
        let text = stored.row.body.as_str().unwrap();
        assert!(text.contains(was), "{text}");
        let body = Body { codec: Body::JSON, bytes: text.replacen(was, is, 1).as_bytes().into() };
        let row = ScheduleRow { body, ..stored.row };
        storage
            .change_schedules(vec![ScheduleChange::to(Some(stored.revision), row)])
            .await
            .unwrap();
    }
    tokio::time::sleep(3 * MINUTE + SECOND).await;
    for key in ["a rule", "a task"] {
        let info = node.schedules().get("tick", key).await.unwrap().unwrap();
        assert!(matches!(info.state, ScheduleState::Broken(_)), "{info:?}");
        assert_eq!((info.next, info.runs), (None, 0));
    }
    assert!(log.len() >= 3, "{:?}", log.taken());
    assert!(log.taken().iter().all(|line| line.starts_with("sound ")));
    // Stored again under its key, it goes on.
    tick::dispatch("a rule").every(every_minute()).key("a rule").on(&node).await.unwrap();
    tokio::time::sleep(MINUTE + SECOND).await;
    assert!(log.taken().iter().any(|line| line.starts_with("a rule ")));
}

#[tokio::test(start_paused = true)]
async fn a_start_and_a_spread_put_off_what_the_rule_says() {
    let (storage, log) = (Memory::new(), Log::default());
    let node = node(&storage, &log).await;
    let begun = SystemTime::now();
    let late = tick::dispatch("late").after(DAY).every(HOUR).key("late").on(&node).await.unwrap();
    let start = late.next.unwrap().duration_since(begun).unwrap();
    assert!(start >= DAY - SECOND && start <= DAY + HOUR, "{start:?}");
    let stored = async |key: &str| {
        let spread = tick::dispatch("s").every(HOUR).key(key).spread(HOUR / 2).on(&node);
        spread.await.unwrap();
        let row = storage.schedule("tick".to_owned(), key.to_owned()).await.unwrap().unwrap().row;
        row.next.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() % 3_600_000
    };
    let offsets = [stored("a").await, stored("b").await, stored("c").await];
    assert!(offsets.iter().all(|offset| *offset < 1_800_000), "{offsets:?}");
    assert!(offsets[0] != offsets[1] && offsets[1] != offsets[2], "{offsets:?}");
    assert_eq!(stored("a").await, offsets[0], "each has its own, always");
    tokio::time::sleep(2 * HOUR).await;
    let ticks = ticks(&log);
    assert!(ticks.len() >= 3 && ticks.iter().all(|at| at % 3600 == 0), "{ticks:?}");
}

#[tokio::test(start_paused = true)]
async fn a_series_that_is_over_may_be_stored_again_at_each_start() {
    let (storage, log) = (Memory::new(), Log::default());
    let node = node(&storage, &log).await;
    let end = SystemTime::now() + 3 * HOUR;
    let store =
        async |key: &str| tick::dispatch("t").every(HOUR).until(end).key(key).on(&node).await;
    store("k").await.unwrap();
    tokio::time::sleep(5 * HOUR).await;
    let runs = log.len() as u64;
    let over = store("k").await.unwrap();
    assert_eq!((over.state, over.runs, over.next), (ScheduleState::Ended, runs, None));
    let refused = store("new").await.unwrap_err();
    assert!(matches!(refused, DispatchError::NeverRuns { .. }), "{refused}");
}
