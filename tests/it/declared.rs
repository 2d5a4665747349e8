//! Schedules that stand in attributes: stored when a program starts, by several releases side by side, and found when they are
//! declared no more.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use evertask::{
    Builder, Context, DispatchError, EventKind, Failure, Handler, HandlerOptions, Location,
    Runtime, ScheduleInfo, ScheduleState, StartError, State,
    storage::{Inspect, Memory, SchedulePage},
};

use crate::{log::Log, until};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Notes what it was given.
#[evertask::handler(every = "1m", retries = 0)]
async fn pulse(times: Option<u32>, #[arg(default)] who: String, log: State<Log>) {
    log.add(format!("pulse {times:?} {who:?}"));
}

/// What a release of the program has: a handler of this name with this schedule. Written by hand, since two of one name cannot be
/// gathered into one program.
macro_rules! release {
    ($release:ident: $options:expr) => {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct $release {}

        impl Handler for $release {
            type Output = ();
            const OPTIONS: HandlerOptions = $options;
            async fn call(self, ctx: Context) -> Result<(), Failure> {
                ctx.state::<Log>()
                    .expect("it was given")
                    .add(concat!(stringify!($release), " ran"));
                Ok(())
            }
        }
    };
}

const fn options(name: &'static str, line: u32) -> HandlerOptions {
    HandlerOptions::new(name, Location { module: "it", file: "declared.rs", line, column: 1 })
}

release!(Old: options("nightly", 1).schedule("v1 cron 0 3 * * * tz UTC"));
release!(New: options("nightly", 2).schedule("v1 cron 0 * * * * tz UTC"));
release!(Bare: options("nightly", 3));
release!(Renamed: options("by_night", 4).aliases(&["nightly"]).schedule("v1 cron 0 4 * * * tz UTC"));
release!(Garbled: options("garbled", 5).schedule("v1 what"));

fn node(storage: &Memory, log: &Log) -> Builder {
    Runtime::builder().storage(storage.clone()).discover(false).state(log.clone())
}

async fn start<H: Handler>(storage: &Memory, log: &Log) -> Runtime {
    node(storage, log).handler::<H>().start().await.unwrap()
}

async fn get(runtime: &Runtime, name: &str) -> Option<ScheduleInfo> {
    runtime.schedules().get(name, name).await.unwrap()
}

async fn words(runtime: &Runtime) -> String {
    get(runtime, "nightly").await.unwrap().words
}

async fn revision(storage: &Memory, name: &str) -> uuid::Uuid {
    storage.schedule(name.to_owned(), name.to_owned()).await.unwrap().unwrap().revision
}

const DAILY: &str = "every day at 03:00 (UTC)";
const HOURLY: &str = "at minute 0 of every hour (UTC)";

#[tokio::test(start_paused = true)]
async fn what_an_attribute_says_is_stored_at_the_start_and_its_ticks_run_without_arguments() {
    let (storage, log) = (Memory::new(), Log::default());
    let runtime = start::<pulse>(&storage, &log).await;
    let info = get(&runtime, "pulse").await.unwrap();
    assert_eq!((&*info.words, info.declared, info.undeclared), ("every minute", true, false));
    tokio::time::sleep(10 * MINUTE).await;
    assert!(log.len() == 10 || log.len() == 9, "{:?}", log.taken());
    assert!(log.taken().iter().all(|line| line == r#"pulse None """#));
    // Beside it the same handler is dispatched as any other.
    log.clear();
    pulse::dispatch(Some(3), "Ada").on(&runtime).await.unwrap().output().await.unwrap();
    assert!(log.taken().contains(&r#"pulse Some(3) "Ada""#.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_finds_what_it_declares_writes_nothing_and_resumes_nothing() {
    let (storage, log) = (Memory::new(), Log::default());
    let first = start::<Old>(&storage, &log).await;
    let stored = revision(&storage, "nightly").await;
    let second = start::<Old>(&storage, &log).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(revision(&storage, "nightly").await, stored, "neither does anybody later");
    first.schedules().pause("nightly", "nightly").await.unwrap();
    let third = start::<New>(&storage, &log).await;
    let info = get(&third, "nightly").await.unwrap();
    assert_eq!((info.state, &*info.words), (ScheduleState::Paused, HOURLY));
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn a_changed_rule_counts_at_once_and_keeps_its_runs() {
    let (storage, log) = (Memory::new(), Log::default());
    let old = start::<Old>(&storage, &log).await;
    tokio::time::sleep(50 * HOUR).await;
    let before = get(&old, "nightly").await.unwrap();
    assert!(before.runs == 2 || before.runs == 3);
    old.shutdown().await.unwrap();
    let new = start::<New>(&storage, &log).await;
    let after = get(&new, "nightly").await.unwrap();
    assert_eq!((&*after.words, after.runs), (HOURLY, before.runs));
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(get(&new, "nightly").await.unwrap().runs, before.runs + 2);
    assert_eq!(log.taken().iter().filter(|line| *line == "New ran").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_old_program_beside_a_new_one_never_undoes_its_rule_however_often_it_starts() {
    let (storage, log) = (Memory::new(), Log::default());
    let first = start::<Old>(&storage, &log).await;
    let new = start::<New>(&storage, &log).await;
    assert_eq!(words(&new).await, HOURLY);
    // A rolling deploy that takes a day: old nodes start, end and start again.
    for _ in 0..100 {
        let old = start::<Old>(&storage, &log).await;
        assert_eq!(words(&old).await, HOURLY);
        tokio::time::sleep(14 * MINUTE).await;
        assert_eq!(words(&old).await, HOURLY);
        old.shutdown().await.unwrap();
    }
    let runs = get(&new, "nightly").await.unwrap().runs;
    assert!((23..=24).contains(&runs), "{runs} in 1,400 minutes, whoever took them");
    first.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rollback_counts_a_few_minutes_after_the_last_new_program_has_ended() {
    let (storage, log) = (Memory::new(), Log::default());
    start::<Old>(&storage, &log).await.shutdown().await.unwrap();
    let new = start::<New>(&storage, &log).await;
    let old = start::<Old>(&storage, &log).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(words(&old).await, HOURLY);
    new.shutdown().await.unwrap();
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(words(&old).await, DAILY);
    // Rolled out once more, it is the same the other way round.
    let new = start::<New>(&storage, &log).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(words(&new).await, DAILY);
    old.shutdown().await.unwrap();
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(words(&new).await, HOURLY);
}

/// The schedules of which this node tells that they are declared nowhere any more.
fn undeclared(runtime: &Runtime) -> Arc<Mutex<Vec<String>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (mut events, kept) = (runtime.events(), Arc::clone(&told));
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if event.kind == EventKind::ScheduleUndeclared {
                kept.lock().unwrap().push(event.schedule.unwrap().to_string());
            }
        }
    });
    told
}

#[tokio::test(start_paused = true)]
async fn what_no_living_program_declares_is_told_goes_on_and_is_removed_when_asked() {
    let (storage, log) = (Memory::new(), Log::default());
    let old = start::<New>(&storage, &log).await;
    // Others may have any number of schedules, and handlers that this program does not know.
    for key in ["a", "b", "zzz"] {
        pulse::dispatch(None, "")
            .every(HOUR)
            .key(key)
            .on(&start::<pulse>(&storage, &log).await)
            .await
            .unwrap();
    }
    let bare = start::<Bare>(&storage, &log).await;
    let told = undeclared(&bare);
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(
        *told.lock().unwrap(),
        ["pulse"],
        "as long as one lives that declares it, all is well"
    );
    old.shutdown().await.unwrap();
    tokio::time::sleep(HOUR).await;
    assert_eq!(*told.lock().unwrap(), ["pulse", "nightly"]);
    let names = |infos: Vec<ScheduleInfo>| Vec::from_iter(infos.into_iter().map(|info| info.name));
    assert_eq!(names(bare.schedules().undeclared().await.unwrap()), ["nightly", "pulse"]);
    let runs = get(&bare, "nightly").await.unwrap().runs;
    tokio::time::sleep(3 * HOUR).await;
    assert_eq!(get(&bare, "nightly").await.unwrap().runs, runs + 3, "it goes on");
    // One that is declared again is not removed.
    let again = start::<pulse>(&storage, &log).await;
    assert!(get(&again, "pulse").await.unwrap().declared);
    assert_eq!(names(bare.schedules().remove_undeclared().await.unwrap()), ["nightly"]);
    assert!(get(&bare, "nightly").await.is_none());
    let left = bare.schedules().list(SchedulePage::default()).await.unwrap();
    assert_eq!(Vec::from_iter(left.iter().map(|info| &*info.key)), ["a", "b", "pulse", "zzz"]);
}

#[tokio::test(start_paused = true)]
async fn health_names_what_no_living_program_declares_to_whoever_asks() {
    let (storage, log) = (Memory::new(), Log::default());
    let (old, beside) = (start::<Old>(&storage, &log).await, start::<pulse>(&storage, &log).await);
    let bare = start::<Bare>(&storage, &log).await;
    let client = Runtime::builder().storage(storage.clone()).discover(false).client().await;
    let client = client.unwrap();
    let named = async |runtime: &Runtime| {
        let health = runtime.health().await;
        assert!(health.ok && health.storage_error.is_none(), "it goes on, and so does the node");
        Vec::from_iter(health.undeclared.into_iter().map(|it| (it.name, it.words)))
    };
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(named(&bare).await, [], "as long as one lives that declares it, all is well");
    old.shutdown().await.unwrap();
    tokio::time::sleep(HOUR).await;
    let nightly = [("nightly".to_owned(), DAILY.to_owned())];
    for runtime in [&bare, &beside, &client] {
        assert_eq!(named(runtime).await, nightly);
    }
    // Declared once more, and removed when that is over, it is not named any longer.
    let again = start::<Old>(&storage, &log).await;
    assert_eq!(named(&bare).await, []);
    again.shutdown().await.unwrap();
    tokio::time::sleep(HOUR).await;
    assert_eq!(named(&bare).await, nightly);
    bare.schedules().remove_undeclared().await.unwrap();
    assert_eq!(named(&bare).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_renamed_handler_goes_on_with_the_schedule_of_its_old_name() {
    let (storage, log) = (Memory::new(), Log::default());
    let old = start::<Old>(&storage, &log).await;
    let renamed = start::<Renamed>(&storage, &log).await;
    let all = renamed.schedules().list(SchedulePage::default()).await.unwrap();
    assert_eq!(all.len(), 1, "not two that both come up: {all:?}");
    assert_eq!((&*all[0].name, &*all[0].words), ("nightly", "every day at 04:00 (UTC)"));
    old.shutdown().await.unwrap();
    tokio::time::sleep(25 * HOUR).await;
    assert!(log.taken().contains(&"Renamed ran".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_is_back_at_the_next_start_and_what_is_cancelled_is_not() {
    let (storage, log) = (Memory::new(), Log::default());
    let runtime = start::<Old>(&storage, &log).await;
    assert!(runtime.schedules().remove("nightly", "nightly").await.unwrap());
    tokio::time::sleep(HOUR).await;
    assert!(get(&runtime, "nightly").await.is_none());
    let next = start::<Old>(&storage, &log).await;
    assert_eq!(get(&next, "nightly").await.unwrap().state, ScheduleState::Active);
    next.schedules().cancel("nightly", "nightly").await.unwrap();
    let another = start::<New>(&storage, &log).await;
    let info = get(&another, "nightly").await.unwrap();
    assert_eq!((info.state, info.next), (ScheduleState::Cancelled, None));
    let revived = another.schedules().revive("nightly", "nightly").await.unwrap();
    assert!(revived.declared && revived.next.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_declared_is_not_stored_otherwise_by_hand() {
    let (storage, log) = (Memory::new(), Log::default());
    let runtime = start::<pulse>(&storage, &log).await;
    let by_hand = || pulse::dispatch(None, "hand").every(HOUR).key("pulse").on(&runtime);
    let refused = by_hand().await.unwrap_err();
    assert!(matches!(refused, DispatchError::BadSchedule { .. }), "{refused}");
    assert!(refused.to_string().contains("attribute"), "{refused}");
    // The other way round the attribute takes over.
    runtime.schedules().remove("pulse", "pulse").await.unwrap();
    assert!(!by_hand().await.unwrap().declared);
    let next = start::<pulse>(&storage, &log).await;
    assert!(get(&next, "pulse").await.unwrap().declared);
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_told_at_the_start_and_what_broke_is_tried_again_there() {
    let (storage, log) = (Memory::new(), Log::default());
    let refused = node(&storage, &log).handler::<Garbled>().start().await.unwrap_err();
    assert!(matches!(refused, StartError::BadSetting { .. }), "{refused}");
    assert!(refused.to_string().contains("garbled"), "{refused}");

    let runtime = start::<pulse>(&storage, &log).await;
    crate::ticks::rewrite(&storage, "pulse", r#""default""#, r#""""#).await;
    until(async || matches!(get(&runtime, "pulse").await.unwrap().state, ScheduleState::Broken(_)))
        .await;
    // The queue differs, so it is another declaration; and even if it were the same, it would be tried again.
    let next = start::<pulse>(&storage, &log).await;
    assert_eq!(get(&next, "pulse").await.unwrap().state, ScheduleState::Active);
    crate::ticks::rewrite(&storage, "pulse", r#""active""#, r#"{"broken":"why"}"#).await;
    let next = start::<pulse>(&storage, &log).await;
    assert_eq!(get(&next, "pulse").await.unwrap().state, ScheduleState::Active);
}
