//! What schedules do beyond making tasks: wait, end, begin anew, make up for what is past, and go on beside programs that are newer.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use evertask::{
    Body, Context, DispatchError, EventKind, Overlap, Runtime, ScheduleFault, ScheduleState, State,
    TaskState,
    bounds::BACKFILL_MAX,
    schedule::{every_hour, every_minute, every_second},
    storage::{Inspect, ManualClock, Memory, ScheduleChange, ScheduleRow, Storage},
};

use crate::{log::Log, until};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Notes its tick, in seconds since 1970.
#[evertask::handler(retries = 0)]
async fn mark(what: String, ctx: Context, log: State<Log>) {
    let at = ctx.scheduled_for().map(|at| at.duration_since(UNIX_EPOCH).unwrap().as_secs());
    log.add(format!("{what} {}", at.unwrap_or_default()));
}

/// Takes 150 s.
#[evertask::handler(retries = 0)]
async fn long(log: State<Log>) {
    log.add("begun");
    tokio::time::sleep(150 * SECOND).await;
    log.add("ended");
}

async fn node(storage: &Memory, log: &Log) -> Runtime {
    let builder = Runtime::builder().storage(storage.clone()).discover(false).state(log.clone());
    builder.handler::<mark>().handler::<long>().start().await.unwrap()
}

/// Changes the text of what is stored of a schedule whose key is the name, or `mark`'s of this key.
pub(crate) async fn rewrite(storage: &Memory, key: &str, was: &str, is: &str) {
    let name = if key == "pulse" { key } else { "mark" };
    let stored = storage.schedule(name.to_owned(), key.to_owned()).await.unwrap().unwrap();
    let text = stored.row.body.as_str().unwrap();
    assert!(text.contains(was), "{text}");
    let body = Body { codec: Body::JSON, bytes: text.replacen(was, is, 1).as_bytes().into() };
    let change = ScheduleChange::to(Some(stored.revision), ScheduleRow { body, ..stored.row });
    storage.change_schedules(vec![change]).await.unwrap();
}

async fn state(node: &Runtime, key: &str) -> ScheduleState {
    node.schedules().get("mark", key).await.unwrap().unwrap().state
}

pub(crate) async fn storage_now(storage: &Memory) -> SystemTime {
    storage.due_schedules(Arc::from(Vec::new()), 1, 1).await.unwrap().now
}

/// Everything about schedules that this node tells, in words.
fn told(node: &Runtime) -> Arc<Mutex<Vec<String>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (mut events, kept) = (node.events(), Arc::clone(&told));
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let Some(key) = event.schedule {
                kept.lock().unwrap().push(format!("{key}: {:?}", event.kind));
            }
            assert_ne!(event.kind, EventKind::Missed(1));
        }
    });
    told
}

#[tokio::test(start_paused = true)]
async fn one_tick_waits_for_the_end_of_the_task_before_and_begins_right_then() {
    let (storage, log) = (Memory::new(), Log::default());
    let node = node(&storage, &log).await;
    let told = told(&node);
    let queued = long::dispatch().every(every_minute()).overlap(Overlap::QueueOne);
    queued.key("k").on(&node).await.unwrap();
    until(async || log.len() == 1).await;
    tokio::time::sleep(100 * SECOND).await;
    let info = node.schedules().get("long", "k").await.unwrap().unwrap();
    let held = info.held.expect("one waits");
    assert_eq!(held.duration_since(UNIX_EPOCH).unwrap().as_secs() % 60, 0);
    assert_eq!(info.runs, 1, "what waits is no run yet");
    for lines in 1..=5 {
        until(async || log.taken().iter().filter(|line| *line == "ended").count() == lines).await;
        let end = tokio::time::Instant::now();
        until(async || log.len() == 2 * lines + 1).await;
        let waited = end.elapsed();
        assert!(waited < SECOND, "the next began {waited:?} after the end of the one before");
    }
    // Of 13 ticks in 750 s six began, one waits, and the others made none.
    let skips = told.lock().unwrap().iter().filter(|line| *line == "k: TicksSkipped").count();
    assert!((5..=8).contains(&skips), "{skips}: {:?}", told.lock().unwrap());
    assert_eq!(node.schedules().get("long", "k").await.unwrap().unwrap().runs, 6);
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_waits_is_made_though_nobody_heard_the_end_it_waits_for() {
    let (storage, log) = (Memory::new(), Log::default());
    let first = node(&storage, &log).await;
    let queued = long::dispatch().every(every_minute()).overlap(Overlap::QueueOne);
    queued.max_runs(2).key("k").on(&first).await.unwrap();
    until(async || log.len() == 1).await;
    tokio::time::sleep(100 * SECOND).await;
    let held = async |node: &Runtime| {
        node.schedules().get("long", "k").await.unwrap().unwrap().held.is_some()
    };
    assert!(held(&first).await);
    // Whoever listened is gone, and no other tick will come and ask: the one that waits is the last.
    first.shutdown().await.unwrap();
    let second = node(&storage, &log).await;
    assert!(held(&second).await);
    let count = |what: &str| log.taken().iter().filter(|line| *line == what).count();
    // Interrupted by the shutdown, it began once more.
    until(async || count("ended") == 1).await;
    let end = tokio::time::Instant::now();
    until(async || count("begun") == 3).await;
    assert!(end.elapsed() <= 61 * SECOND, "{:?}", end.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_range_is_made_up_for_once_however_often_it_is_said() {
    let clock = ManualClock::new();
    let (storage, log) = (Memory::with_clock(clock.clock()), Log::default());
    clock.advance(SECOND);
    let node = node(&storage, &log).await;
    let hour = clock.now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 3600 * 3600;
    let now = UNIX_EPOCH + Duration::from_secs(hour);
    mark::dispatch("m").every(every_hour()).key("k").on(&node).await.unwrap();
    node.schedules().pause("mark", "k").await.unwrap();
    let schedules = node.schedules();
    let day = now - 24 * HOUR..now - 12 * HOUR;
    let ids = schedules.backfill("mark", "k", day.clone()).await.unwrap();
    assert_eq!(ids.len(), 12, "with its beginning, without its end");
    until(async || log.len() == 12).await;
    let mut ticks = log.taken();
    ticks.sort();
    let expected: Vec<_> = (12..=24).rev().map(|n| format!("m {}", hour - n * 3600)).collect();
    assert_eq!(ticks, expected[..12]);
    // Said again, and for more: only what is new is made.
    assert_eq!(schedules.backfill("mark", "k", day.clone()).await.unwrap(), ids);
    let more = schedules.backfill("mark", "k", day.start..now + 24 * HOUR).await.unwrap();
    assert_eq!(more[..12], ids[..]);
    // What has not come yet is not made.
    assert_eq!(more.len(), 25);
    until(async || log.len() >= 25).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(log.len(), 25);
    assert_eq!(schedules.get("mark", "k").await.unwrap().unwrap().runs, 0);
    let task = node.task(ids[3]).await.unwrap().unwrap();
    assert_eq!(task.state, TaskState::Completed);
    assert_eq!(task.tags[evertask::SCHEDULE_TAG], "k");

    mark::dispatch("m").every(every_second()).key("fine").on(&node).await.unwrap();
    let most = Duration::from_secs(BACKFILL_MAX as u64);
    let all = schedules.backfill("mark", "fine", now - most..now).await.unwrap();
    assert_eq!(all.len(), BACKFILL_MAX);
    let over = schedules.backfill("mark", "fine", now - most - SECOND..now).await.unwrap_err();
    assert!(matches!(over, ScheduleFault::TooManyTicks { .. }), "{over}");
    let unknown = schedules.backfill("mark", "none", day).await.unwrap_err();
    assert!(matches!(unknown, ScheduleFault::Unknown { .. }), "{unknown}");
}

#[tokio::test(start_paused = true)]
async fn what_was_cancelled_or_is_over_begins_anew_only_when_that_is_asked_for() {
    let (storage, log) = (Memory::new(), Log::default());
    let node = node(&storage, &log).await;
    let thrice = || mark::dispatch("m").every(MINUTE).max_runs(3).key("k").on(&node);
    thrice().await.unwrap();
    tokio::time::sleep(HOUR).await;
    assert_eq!(log.len(), 3);
    let over = thrice().await.unwrap();
    assert_eq!((over.state, over.runs), (ScheduleState::Ended, 3));
    let revived = thrice().revive().await.unwrap();
    assert_eq!((revived.state, revived.runs), (ScheduleState::Active, 0));
    tokio::time::sleep(90 * SECOND).await;
    assert!(thrice().revive().await.unwrap().runs >= 1, "one that goes on is left alone");
    let cancelled = node.schedules().cancel("mark", "k").await.unwrap();
    assert_eq!((&cancelled.state, cancelled.next), (&ScheduleState::Cancelled, None));
    assert_eq!(thrice().await.unwrap().state, ScheduleState::Cancelled);
    let refused = node.schedules().resume("mark", "k").await.unwrap_err();
    assert!(refused.to_string().contains("revive"), "{refused}");
    let refused = node.schedules().skip_next("mark", "k").await.unwrap_err();
    assert!(matches!(refused, ScheduleFault::Over(_)), "{refused}");
    mark::dispatch("m").every(MINUTE).key("still").on(&node).await.unwrap();
    node.schedules().pause("mark", "still").await.unwrap();
    let refused = node.schedules().skip_next("mark", "still").await.unwrap_err();
    assert!(refused.to_string().contains("resume it first"), "{refused}");
    log.clear();
    tokio::time::sleep(HOUR).await;
    assert_eq!(log.len(), 0);
    // Its start is as said, as for one that is new.
    thrice().start_now().revive().await.unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!(log.len(), 1);
    tokio::time::sleep(HOUR).await;
    // The same by hand.
    let revived = node.schedules().revive("mark", "k").await.unwrap();
    assert_eq!((revived.state, revived.runs), (ScheduleState::Active, 0));
    assert!(revived.next.is_some());
    node.schedules().cancel("mark", "k").await.unwrap();
    let end = storage_now(&storage).await + SECOND;
    thrice().until(end).await.unwrap();
    tokio::time::sleep(2 * SECOND).await;
    let refused = node.schedules().revive("mark", "k").await.unwrap_err();
    assert!(matches!(refused, ScheduleFault::NoMore(_)), "{refused}");
    let past = SystemTime::now() - HOUR;
    let refused = thrice().until(past).revive().await.unwrap_err();
    assert!(matches!(refused, DispatchError::NeverRuns { .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_end_a_break_and_ticks_left_out_are_told() {
    let (storage, log) = (Memory::new(), Log::default());
    let node = node(&storage, &log).await;
    let told = told(&node);
    mark::dispatch("m").every(MINUTE).max_runs(1).key("ends").on(&node).await.unwrap();
    mark::dispatch("m").every(MINUTE).key("breaks").on(&node).await.unwrap();
    long::dispatch().every(MINUTE).key("skips").on(&node).await.unwrap();
    rewrite(&storage, "breaks", "v1 ", "v1 what ").await;
    tokio::time::sleep(4 * MINUTE).await;
    let told = told.lock().unwrap();
    let count = |line: &str| told.iter().filter(|it| *it == line).count();
    assert_eq!(count("ends: ScheduleEnded"), 1, "{told:?}");
    assert_eq!(count("breaks: ScheduleBroken"), 1, "{told:?}");
    assert!(count("skips: TicksSkipped") >= 1, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn what_only_a_newer_program_can_read_is_put_off_as_it_is_and_stops_no_other() {
    let (storage, log) = (Memory::new(), Log::default());
    let node = node(&storage, &log).await;
    let told = told(&node);
    for n in 0..120 {
        let key = format!("{n:03}");
        mark::dispatch("new").cron("* * * * *").key(&key).on(&node).await.unwrap();
        // A zone that was added to the tz database after this program was built, or a form that came later.
        let (was, is) = if n % 2 == 0 { ("UTC", "Mars/Olympus") } else { ("v1 cron", "v7 mayan") };
        rewrite(&storage, &key, was, is).await;
    }
    let sound = mark::dispatch("old").every(every_minute()).key("sound").on(&node).await.unwrap();
    until(async || log.len() == 1).await;
    let late = storage_now(&storage).await.duration_since(sound.next.unwrap()).unwrap();
    assert!(late <= 10 * SECOND, "it came up behind 120 others that nobody took: {late:?}");
    tokio::time::sleep(30 * MINUTE).await;
    let sound = log.taken();
    assert!(sound.len() >= 29 && sound.iter().all(|line| line.starts_with("old ")), "{sound:?}");
    assert!(told.lock().unwrap().contains(&"000: Trouble".to_owned()));
    for key in ["000", "001"] {
        assert_eq!(state(&node, key).await, ScheduleState::Active, "not broken, only beyond us");
    }
    // The newer program comes.
    rewrite(&storage, "000", "Mars/Olympus", "UTC").await;
    rewrite(&storage, "001", "v7 mayan", "v1 cron").await;
    log.clear();
    tokio::time::sleep(15 * MINUTE).await;
    let new = log.taken().iter().filter(|line| line.starts_with("new ")).count();
    assert!(new >= 8, "{new}: it goes on");
}

#[tokio::test(start_paused = true)]
async fn what_another_program_shall_take_is_left_to_it_for_a_minute() {
    let (storage, log) = (Memory::new(), Log::default());
    let node = node(&storage, &log).await;
    mark::dispatch("new").cron("* * * * *").key("k").on(&node).await.unwrap();
    rewrite(&storage, "k", "UTC", "Mars/Olympus").await;
    let stored = || storage.schedule("mark".to_owned(), "k".to_owned());
    let before = stored().await.unwrap().unwrap();
    let due = before.row.next.unwrap();
    let wait = due.duration_since(storage_now(&storage).await).unwrap_or_default();
    tokio::time::sleep(wait + 50 * SECOND).await;
    assert_eq!(stored().await.unwrap().unwrap(), before, "whoever can read it finds it as it was");
    until(async || stored().await.unwrap().unwrap().revision != before.revision).await;
    let after = stored().await.unwrap().unwrap();
    assert_eq!(after.row.body, before.row.body);
    assert!(after.row.next > before.row.next);
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_program_wrote_is_neither_changed_nor_lost_by_an_older_one() {
    let (storage, log) = (Memory::new(), Log::default());
    let node = node(&storage, &log).await;
    let store = || mark::dispatch("m").every(every_minute()).key("k").on(&node);
    store().await.unwrap();
    // A word that this program does not know goes on as it came, over ticks and over what is stored by hand.
    rewrite(&storage, "k", "{", r#"{"colour":["blue",7],"#).await;
    tokio::time::sleep(3 * MINUTE).await;
    assert!(log.len() >= 2);
    node.schedules().skip_next("mark", "k").await.unwrap();
    store().max_runs(9).await.unwrap();
    let stored = storage.schedule("mark".to_owned(), "k".to_owned()).await.unwrap().unwrap();
    assert!(stored.row.body.as_str().unwrap().contains(r#""colour":["blue",7]"#));
    // In a later format it is not touched at all.
    let row = ScheduleRow { format: 9, ..stored.row };
    let change = ScheduleChange::to(Some(stored.revision), row);
    storage.change_schedules(vec![change]).await.unwrap();
    let refused = node.schedules().pause("mark", "k").await.unwrap_err();
    assert!(matches!(refused, ScheduleFault::Newer { .. }), "{refused}");
    let refused = store().await.unwrap_err();
    assert!(refused.to_string().contains("newer"), "{refused}");
    log.clear();
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(log.len(), 0);
}
