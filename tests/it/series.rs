//! What a series owes to what was said of it: its start, its end, its ways with ticks that were missed or overlap, and true reasons.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use evertask::{
    Body, Context, DispatchError, EventKind, Missed, Overlap, Recurring, Runtime, ScheduleFault,
    ScheduleFilter, ScheduleInfo, ScheduleState, State,
    schedule::{Fri, every, every_day, every_minute},
    storage::{
        Inspect as _, ManualClock, Memory, ScheduleChange, SchedulePage, ScheduleRow, Storage as _,
    },
};

use crate::{log::Log, ticks::rewrite, until};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Notes its tick, in seconds since 1970.
#[evertask::handler(retries = 0)]
async fn mark(what: String, ctx: Context, log: State<Log>) {
    log.add(format!("{what} {}", seconds(ctx.scheduled_for().unwrap_or(UNIX_EPOCH))));
}

/// Takes 150 s, and half a second to clean up when it is cancelled.
#[evertask::handler(retries = 0)]
async fn slow(ctx: Context, log: State<Log>) {
    log.add("begun");
    tokio::select! {
        () = tokio::time::sleep(150 * SECOND) => {}
        () = ctx.cancelled() => tokio::time::sleep(SECOND / 2).await,
    }
    log.add("ended");
}

/// Fails, with the retries that a handler has by default.
#[evertask::handler]
async fn fails(log: State<Log>) -> Result<(), String> {
    log.add("failed");
    Err("no".to_owned())
}

/// A node with a storage whose clock stands at the beginning of an hour unless it is moved.
struct Scene {
    clock: ManualClock,
    storage: Memory,
    log: Log,
    node: Runtime,
}

impl Scene {
    async fn new() -> Self {
        let clock = ManualClock::new();
        let past = seconds(clock.now()) % 3600;
        clock.advance(Duration::from_secs(3600 - past));
        let (storage, log) = (Memory::with_clock(clock.clock()), Log::default());
        let node = start(&storage, &log).await;
        Self { clock, storage, log, node }
    }

    /// Nobody is there for so long.
    async fn down(&mut self, time: Duration) {
        self.node.shutdown().await.unwrap();
        self.clock.advance(time);
        self.node = start(&self.storage, &self.log).await;
        tokio::time::sleep(5 * SECOND).await;
    }

    fn mark(&self) -> evertask::Dispatch<mark> {
        mark::dispatch("m").on(&self.node)
    }

    async fn info(&self) -> ScheduleInfo {
        self.node.schedules().get("mark", "k").await.unwrap().unwrap()
    }

    /// The ticks of the tasks that ran, in seconds after an instant.
    fn ticks(&self, from: SystemTime) -> Vec<i64> {
        let of = |line: &String| line.split(' ').nth(1).unwrap().parse::<i64>().unwrap();
        self.log.taken().iter().map(|line| of(line) - seconds(from) as i64).collect()
    }
}

async fn start(storage: &Memory, log: &Log) -> Runtime {
    let builder = Runtime::builder().storage(storage.clone()).discover(false).state(log.clone());
    let builder = builder.handler::<mark>().handler::<slow>().handler::<fails>();
    builder.grace(2 * SECOND).start().await.unwrap()
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What this node tells of ticks that were left out.
fn skips(node: &Runtime) -> Arc<Mutex<Vec<String>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (mut events, kept) = (node.events(), Arc::clone(&told));
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if event.kind == EventKind::TicksSkipped {
                kept.lock().unwrap().push(event.error.unwrap().to_string());
            }
        }
    });
    told
}

#[tokio::test(start_paused = true)]
async fn the_last_missed_tick_before_the_end_is_made_up_for_though_the_end_has_passed() {
    let mut scene = Scene::new().await;
    let begun = scene.clock.now();
    let once = scene.mark().every(HOUR).missed(Missed::Once).until(begun + 5 * HOUR + MINUTE);
    once.key("k").await.unwrap();
    scene.down(10 * HOUR + MINUTE / 2).await;
    assert_eq!(scene.ticks(begun), [5 * 3600]);
    assert_eq!(scene.info().await.state, ScheduleState::Ended);
}

#[tokio::test(start_paused = true)]
async fn once_is_one_task_also_if_ticks_of_the_last_minute_are_among_those() {
    let mut scene = Scene::new().await;
    let begun = scene.clock.now();
    let often = scene.mark().every(every(5).seconds()).missed(Missed::Once);
    often.overlap(Overlap::Allow).key("k").await.unwrap();
    scene.down(5 * DAY + 2 * SECOND).await;
    assert_eq!(scene.ticks(begun), [5 * 86_400]);
    // What was not missed but only late is not made one.
    scene.log.clear();
    scene.down(30 * SECOND).await;
    assert_eq!(scene.log.len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_start_holds_for_a_changed_rule_and_moves_when_it_is_moved_as_long_as_none_came_up() {
    let scene = Scene::new().await;
    let begun = scene.clock.now();
    let next = async |wish: Recurring<mark>| {
        let info = wish.key("k").await.unwrap();
        info.next.unwrap().duration_since(begun).unwrap()
    };
    let start = begun + 10 * DAY;
    assert_eq!(next(scene.mark().every(MINUTE).start_at(start)).await, 10 * DAY);
    assert_eq!(next(scene.mark().every(HOUR).start_at(start)).await, 10 * DAY, "another rule");
    let sooner = start - 5 * DAY;
    assert_eq!(next(scene.mark().every(HOUR).start_at(sooner)).await, 5 * DAY, "moved");
    assert_eq!(next(scene.mark().every(HOUR).start_at(start)).await, 10 * DAY, "and back");
    // Paused and resumed, it still is not before its start.
    scene.node.schedules().pause("mark", "k").await.unwrap();
    let resumed = scene.node.schedules().resume("mark", "k").await.unwrap();
    assert_eq!(resumed.next, Some(start));
    // A delay counts from when it was said first: or a program that is started often would never begin.
    scene.node.schedules().remove("mark", "k").await.unwrap();
    assert_eq!(next(scene.mark().every(HOUR).start_after(3 * HOUR)).await, 3 * HOUR);
    scene.clock.advance(2 * HOUR);
    assert_eq!(next(scene.mark().every(HOUR).start_after(3 * HOUR)).await, 3 * HOUR);
    assert_eq!(next(scene.mark().every(MINUTE).start_after(3 * HOUR)).await, 3 * HOUR);
    scene.clock.advance(HOUR);
    until(async || scene.log.len() == 1).await;
    assert_eq!(scene.ticks(begun), [3 * 3600]);
    // From then on the start is past.
    let rule = scene.mark().every(HOUR).start_at(begun + 100 * DAY);
    assert_eq!(next(rule).await, 4 * HOUR);
}

#[tokio::test(start_paused = true)]
async fn every_second_week_has_the_week_of_its_start_in_it() {
    let scene = Scene::new().await;
    for weeks in [1, 2] {
        // A Friday of the next weeks, whichever parity its week has since 1970.
        let fridays = every(1).weeks().on(Fri).build().unwrap();
        let friday = fridays.after(scene.clock.now()).nth(weeks).unwrap();
        let rule = every(2).weeks().on(Fri);
        let info = scene.mark().every(rule).start_at(friday - HOUR).key("k").await.unwrap();
        assert_eq!(info.next, Some(friday));
        assert_eq!(info.upcoming(2)[1], friday + 14 * DAY);
        let again = every(2).weeks().on(Fri);
        let again = scene.mark().every(again).start_at(friday - HOUR).key("k").await.unwrap();
        assert_eq!(again.words, info.words);
    }
    // Said as a delay, it counts from the same week however often it is said.
    let after = async |key: &str| {
        let rule = scene.mark().every(every(3).days()).start_after(DAY).key(key).await.unwrap();
        (rule.next.unwrap(), rule.words)
    };
    let said = after("days").await;
    scene.clock.advance(5 * HOUR);
    assert_eq!(after("days").await, said);
}

#[tokio::test(start_paused = true)]
async fn times_beyond_all_bounds_are_refused_with_words() {
    let scene = Scene::new().await;
    let refused = async |wish: Recurring<mark>| wish.key("k").await.unwrap_err().to_string();
    let max = Duration::MAX;
    assert!(refused(scene.mark().every(HOUR).start_after(max)).await.contains("100 years"));
    assert!(refused(scene.mark().after(max).every(HOUR)).await.contains("100 years"));
    assert!(refused(scene.mark().every(HOUR).spread(max)).await.contains("31 days"));
    assert!(refused(scene.mark().timeout(Duration::ZERO).every(HOUR)).await.contains("zero"));
    let once = scene.mark().timeout(Duration::ZERO).await.unwrap_err();
    assert!(matches!(once, DispatchError::ZeroTimeout { .. }), "{once}");
    // What only is far away is no end.
    let far = UNIX_EPOCH + Duration::from_secs(1 << 60);
    let info = scene.mark().every(HOUR).until(far).key("far").await.unwrap();
    assert_eq!(info.state, ScheduleState::Active);
    let never = refused(scene.mark().every(HOUR).start_at(far)).await;
    assert!(never.contains("never make a task"), "{never}");
    for overlap in [Overlap::Skip, Overlap::CancelPrevious] {
        let all = scene.mark().every(HOUR).missed(Missed::All(HOUR)).overlap(overlap);
        let all = refused(all).await;
        assert!(all.contains("Overlap::QueueOne"), "{all}");
    }
    // An end that has passed is a mistake also where a series is stored, unless it was its end before.
    scene.mark().every(HOUR).key("k").await.unwrap();
    let past = scene.clock.now() - HOUR;
    assert!(refused(scene.mark().every(HOUR).until(past)).await.contains("`until` has passed"));
    assert_eq!(scene.info().await.state, ScheduleState::Active);
}

#[tokio::test(start_paused = true)]
async fn what_only_a_newer_program_can_read_is_not_ended_by_resuming_it_here() {
    let scene = Scene::new().await;
    for (key, was, is) in [("zone", "UTC", "Mars/Olympus"), ("form", "v1 cron", "v7 mayan")] {
        scene.mark().cron("0 3 * * *").key(key).await.unwrap();
        scene.node.schedules().pause("mark", key).await.unwrap();
        scene.clock.advance(3 * DAY);
        rewrite(&scene.storage, key, was, is).await;
        let stored = || scene.storage.schedule("mark".to_owned(), key.to_owned());
        let before = stored().await.unwrap().unwrap();
        let refused = scene.node.schedules().resume("mark", key).await.unwrap_err();
        assert!(matches!(refused, ScheduleFault::Newer { .. }), "{refused}");
        assert_eq!(stored().await.unwrap().unwrap(), before);
        rewrite(&scene.storage, key, is, was).await;
        let resumed = scene.node.schedules().resume("mark", key).await.unwrap();
        assert_eq!(resumed.state, ScheduleState::Active);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_is_spread_and_has_not_come_up_is_lost_neither_by_resuming_nor_by_a_new_rule() {
    let scene = Scene::new().await;
    let rule = |at: &str| scene.mark().every(every_day().at(at)).spread(12 * HOUR).key("k");
    let offset = rule("09:00").await.unwrap().offset;
    assert!(offset > MINUTE, "{offset:?}");
    let day = Duration::from_secs(seconds(scene.clock.now()) % 86_400);
    let nine = scene.clock.now() - day + DAY + 9 * HOUR;
    // The time it names has passed, but it comes up later.
    scene.clock.advance(nine.duration_since(scene.clock.now()).unwrap() + offset / 2);
    scene.node.schedules().pause("mark", "k").await.unwrap();
    let resumed = scene.node.schedules().resume("mark", "k").await.unwrap();
    let today = scene.clock.now().duration_since(resumed.next.unwrap()).unwrap();
    assert!(today <= offset, "{today:?}");
    let changed = rule("09:01").await.unwrap();
    assert!(changed.next.unwrap() < scene.clock.now() + HOUR, "{changed:?}");
    scene.clock.advance(offset / 2 + MINUTE + 2 * SECOND);
    until(async || scene.log.len() == 1).await;
    // What has come up does not once more.
    let changed = rule("09:00").await.unwrap();
    assert!(changed.next.unwrap() > scene.clock.now(), "{changed:?}");
}

#[tokio::test(start_paused = true)]
async fn ticks_left_out_are_counted_and_told_with_the_reason_that_is_true() {
    let mut scene = Scene::new().await;
    scene.mark().every(HOUR).key("k").await.unwrap();
    scene.down(3 * HOUR + HOUR / 2).await;
    assert_eq!((scene.info().await.runs, scene.info().await.skipped), (0, 3));
    let told = skips(&scene.node);
    // A clock that jumps is like nobody being there.
    scene.clock.advance(2 * HOUR);
    until(async || told.lock().unwrap().len() == 1).await;
    assert_eq!(*told.lock().unwrap(), ["2, as no node took them in time"]);
    scene.clock.advance(10 * 366 * DAY);
    until(async || told.lock().unwrap().len() == 2).await;
    assert!(told.lock().unwrap()[1].starts_with("more than 100, as no node"));
    assert_eq!(scene.info().await.skipped, 3 + 2 + 101);

    let (storage, log) = (Memory::new(), Log::default());
    let node = start(&storage, &log).await;
    let told = skips(&node);
    slow::dispatch().every(every_minute()).key("k").on(&node).await.unwrap();
    until(async || told.lock().unwrap().len() == 2).await;
    assert_eq!(*told.lock().unwrap(), ["1, as the task before is not done"; 2]);
    assert_eq!(node.schedules().get("slow", "k").await.unwrap().unwrap().skipped, 2);
}

/// T14 of the lessons: what is counted ends where the series does, and is right where the absence ends with a tick.
#[tokio::test(start_paused = true)]
async fn ticks_left_out_are_counted_to_the_end_of_the_series_and_no_further() {
    for (end, skipped) in [(2 * HOUR + HOUR / 2, 2), (3 * HOUR, 2), (3 * HOUR + SECOND, 3)] {
        let mut scene = Scene::new().await;
        let start = scene.clock.now();
        let first = scene.mark().every(HOUR).until(start + end).key("k").await.unwrap().next;
        assert_eq!(
            first,
            Some(start + HOUR),
            "fixed intervals keep the phase of their first moment"
        );
        scene.down(1_000 * HOUR).await;
        let info = scene.info().await;
        let said = (info.state, info.runs, info.skipped);
        assert_eq!(said, (ScheduleState::Ended, 0, skipped), "until {end:?}");
    }
    // A minute is in time, and what comes up while the node is away for exactly that long is made.
    for (down, runs, skipped) in [(HOUR, 1, 0), (2 * HOUR, 1, 1), (2 * HOUR + 2 * MINUTE, 0, 2)] {
        let mut scene = Scene::new().await;
        scene.mark().every(HOUR).key("k").await.unwrap();
        scene.down(down).await;
        let info = scene.info().await;
        assert_eq!((info.runs, info.skipped), (runs, skipped), "away for {down:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_to_start_now_does_however_it_is_spread() {
    let scene = Scene::new().await;
    let spread = scene.mark().every(every_day().at("12:00")).spread(31 * DAY).start_now();
    let info = spread.key("k").await.unwrap();
    assert!(info.offset > MINUTE && info.runs == 1, "{info:?}");
    until(async || scene.log.len() == 1).await;
    assert_eq!(scene.ticks(scene.clock.now()), [0]);
    // Said again, it goes on.
    scene.mark().every(every_day().at("12:00")).start_now().key("k").await.unwrap();
    assert_eq!(scene.info().await.runs, 1);
    let only = scene.mark().every(HOUR).start_now().max_runs(1).key("only").await.unwrap();
    assert_eq!((only.state, only.runs, only.next), (ScheduleState::Ended, 1, None));
}

#[tokio::test(start_paused = true)]
async fn the_next_task_begins_when_the_one_it_cancels_has_ended() {
    let (storage, log) = (Memory::new(), Log::default());
    let nodes = [start(&storage, &log).await, start(&storage, &log).await];
    let cancels = slow::dispatch().every(every_minute()).overlap(Overlap::CancelPrevious);
    cancels.key("k").max_runs(5).on(&nodes[0]).await.unwrap();
    until(async || log.len() == 10).await;
    let lines = log.taken();
    assert!(lines.chunks(2).all(|pair| pair == ["begun", "ended"]), "{lines:?}");
    let info = nodes[0].schedules().get("slow", "k").await.unwrap().unwrap();
    assert_eq!((info.state, info.runs), (ScheduleState::Ended, 5));
}

#[tokio::test(start_paused = true)]
async fn all_that_were_missed_are_made_one_after_the_other_however_many_and_soon() {
    for overlap in [Overlap::Allow, Overlap::QueueOne] {
        let mut scene = Scene::new().await;
        let begun = scene.clock.now();
        let all = scene.mark().every(every_minute()).missed(Missed::All(DAY)).overlap(overlap);
        all.key("k").await.unwrap();
        scene.down(250 * MINUTE).await;
        until(async || scene.log.len() >= 250).await;
        let mut ticks = scene.ticks(begun);
        if overlap == Overlap::Allow {
            ticks.sort_unstable();
        }
        let each: Vec<_> = (1..=250).map(|minute| minute * 60).collect();
        assert_eq!(ticks, each, "{overlap:?}");
        assert_eq!((scene.info().await.skipped, scene.info().await.held), (0, None));
        // And then on time.
        scene.log.clear();
        for minute in 1..=3 {
            scene.clock.advance(MINUTE);
            until(async || scene.log.len() == minute).await;
        }
    }
}

/// A schedule as it may stand in a storage, stored by hand.
async fn store(storage: &Memory, key: &str, body: &str) {
    let body = Body { codec: Body::JSON, bytes: body.as_bytes().into() };
    let mut row = ScheduleRow::new("mark", key, body);
    row.next = Some(UNIX_EPOCH);
    storage.change_schedules(vec![ScheduleChange::to(None, row)]).await.unwrap();
}

/// Written by the first version: each later one has to read it so. Kept as text, never changed.
const WRITTEN: &str = r#"{"rule":"v1 every 60s","state":"active","missed":{"all":{"secs":3600,"nanos":0}},"overlap":"skip","until":null,"max_runs":null,"offset":0,"runs":7,"tick":1,"task":{"version":1,"queue":"default","priority":0,"codec":0,"payload":"{\"what\":\"old\"}","expires":null,"retries":null,"timeout":[],"tags":{"evertask.schedule":"k"}}}"#;

#[tokio::test(start_paused = true)]
async fn what_the_first_version_stored_is_read_and_a_long_window_costs_no_more_than_a_short_one() {
    // Neither can be stored anew beside a window.
    for overlap in ["skip", "cancel_previous"] {
        let scene = Scene::new().await;
        let long = format!(r#""secs":{},"#, 1_u64 << 63);
        let body = WRITTEN.replace(r#""secs":3600,"#, &long);
        let body = body.replace(r#""overlap":"skip""#, &format!(r#""overlap":"{overlap}""#));
        let begun = std::time::Instant::now();
        store(&scene.storage, "k", &body).await;
        until(async || scene.log.len() >= 1).await;
        // Of 30 million ticks; each one looked at took 15 s.
        assert!(begun.elapsed() < 3 * SECOND, "{overlap}: {:?}", begun.elapsed());
        assert!(scene.log.taken()[0].starts_with("old "));
        assert!(scene.info().await.runs >= 8, "{overlap}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_broken_says_so_and_why_to_whoever_looks_after_it() {
    let scene = Scene::new().await;
    store(&scene.storage, "k", &WRITTEN.replace("v1 every 60s", "v1 what")).await;
    until(async || matches!(scene.info().await.state, ScheduleState::Broken(_))).await;
    let health = scene.node.health().await;
    assert_eq!(Vec::from_iter(health.broken.iter().map(|info| &*info.key)), ["k"]);
    let schedules = scene.node.schedules();
    for refused in [
        schedules.pause("mark", "k").await.unwrap_err(),
        schedules.resume("mark", "k").await.unwrap_err(),
        schedules.skip_next("mark", "k").await.unwrap_err(),
        schedules.revive("mark", "k").await.unwrap_err(),
        schedules.run_now("mark", "k").await.unwrap_err(),
    ] {
        assert!(matches!(refused, ScheduleFault::Broken(_)), "{refused}");
        assert!(refused.to_string().contains("`what`"), "{refused}");
    }
    scene.mark().every(HOUR).key("k").await.unwrap();
    assert!(scene.node.health().await.broken.is_empty(), "it was stored anew");
}

#[tokio::test(start_paused = true)]
async fn a_list_is_filtered_by_state_and_by_the_beginning_of_the_key() {
    let scene = Scene::new().await;
    for n in 0..1_200 {
        scene.mark().every(HOUR).key(format!("customer-{n:04}")).await.unwrap();
    }
    scene.mark().every(HOUR).key("other").await.unwrap();
    let schedules = scene.node.schedules();
    schedules.pause("mark", "customer-1100").await.unwrap();
    schedules.pause("mark", "other").await.unwrap();
    let find = async |prefix: Option<&str>, state: Option<ScheduleState>, limit: usize| {
        let mut filter = ScheduleFilter::default();
        (filter.key_prefix, filter.state) = (prefix.map(str::to_owned), state);
        let page = SchedulePage { limit, ..SchedulePage::default() };
        let found = schedules.find(filter, page).await.unwrap();
        Vec::from_iter(found.into_iter().map(|info| info.key))
    };
    assert_eq!(find(Some("customer-11"), None, 1_000).await.len(), 100);
    assert_eq!(find(None, Some(ScheduleState::Paused), 1).await, ["customer-1100"]);
    let paused = find(None, Some(ScheduleState::Paused), 9).await;
    assert_eq!(paused, ["customer-1100", "other"]);
    assert_eq!(find(Some("o"), Some(ScheduleState::Paused), 9).await, ["other"]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_next_ends_where_the_series_does() {
    let scene = Scene::new().await;
    let begun = scene.clock.now();
    let info = scene.mark().queue("q").every(HOUR).max_runs(3).spread(HOUR).key("k").await.unwrap();
    assert_eq!(info.upcoming(10), [1, 2, 3].map(|n| begun + n * HOUR));
    assert_eq!((info.max_runs, info.until, &*info.queue), (Some(3), None, "q"));
    assert_eq!((info.missed, info.overlap), (Missed::Skip, Overlap::Skip));
    let end = begun + 2 * HOUR + MINUTE;
    let info = scene.mark().every(HOUR).until(end).key("u").await.unwrap();
    assert_eq!(info.upcoming(10), [1, 2].map(|n| begun + n * HOUR));
    // A run out of turn is a run, and what is over makes none.
    let schedules = scene.node.schedules();
    for left in [2, 1, 0] {
        schedules.run_now("mark", "k").await.unwrap();
        assert_eq!(scene.info().await.upcoming(10).len(), left);
    }
    assert_eq!(scene.info().await.state, ScheduleState::Ended);
    schedules.cancel("mark", "u").await.unwrap();
    for key in ["k", "u"] {
        let refused = schedules.run_now("mark", key).await.unwrap_err();
        assert!(matches!(refused, ScheduleFault::Over(_)), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waits_for_its_retry_is_not_done_and_holds_the_series() {
    let (storage, log) = (Memory::new(), Log::default());
    let node = start(&storage, &log).await;
    fails::dispatch().every(every_minute()).key("k").on(&node).await.unwrap();
    fails::dispatch().retries(0).every(every_minute()).key("r").on(&node).await.unwrap();
    tokio::time::sleep(HOUR).await;
    let runs = async |key| node.schedules().get("fails", key).await.unwrap().unwrap();
    let (held, free) = (runs("k").await, runs("r").await);
    assert!(held.runs <= 8 && held.skipped >= 45, "{held:?}");
    assert!(free.runs >= 59 && free.skipped == 0, "{free:?}");
}
