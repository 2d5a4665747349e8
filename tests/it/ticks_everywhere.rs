//! The core of schedules on each storage that is a database: in real time, with ticks of a tenth of a second.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::{Duration, SystemTime},
};

use evertask::{
    Body, Context, Failure, Handler, HandlerOptions, Location, Missed, Overlap, Page, Runtime,
    SCHEDULE_TAG, ScheduleState, State, TaskFilter,
    storage::{
        FullStorage, Inspect as _, MySql, Postgres, ScheduleChange, ScheduleRow, Sqlite,
        Storage as _,
    },
};
use tokio::sync::Semaphore;

use crate::{log::Log, until};

const TENTH: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_secs(3600);

#[evertask::handler(retries = 0)]
async fn beat() {}

/// Ends when it is let.
#[evertask::handler(retries = 0)]
async fn hold(gate: State<std::sync::Arc<Gate>>, log: State<Log>) {
    let beside = gate.inside.fetch_add(1, SeqCst);
    log.add(format!("begun beside {beside}"));
    gate.open.acquire().await.expect("it is never closed").forget();
    gate.inside.fetch_sub(1, SeqCst);
}

struct Gate {
    inside: AtomicUsize,
    open: Semaphore,
}

/// Two releases of a program.
macro_rules! release {
    ($release:ident, $line:expr, $rule:expr) => {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct $release {}

        impl Handler for $release {
            type Output = ();
            const OPTIONS: HandlerOptions = HandlerOptions::new(
                "declared",
                Location { module: "it", file: "ticks_everywhere.rs", line: $line, column: 1 },
            )
            .schedule($rule);
            async fn call(self, _: Context) -> Result<(), Failure> {
                Ok(())
            }
        }
    };
}

release!(Old, 1, "v1 cron 0 3 * * * tz UTC");
release!(New, 2, "v1 cron 0 4 * * * tz UTC");

/// A database of its own, and connections to it.
trait Place {
    async fn connect(&self) -> impl FullStorage;
}

struct OnFile(tempfile::TempDir);

impl Place for OnFile {
    async fn connect(&self) -> impl FullStorage {
        Sqlite::options().durable(false).open(self.0.path().join("tasks.db")).await.unwrap()
    }
}

struct OnPostgres(String, String);

impl Place for OnPostgres {
    async fn connect(&self) -> impl FullStorage {
        Postgres::options().schema(&self.1).durable(false).connect(&self.0).await.unwrap()
    }
}

struct OnMariadb(String, String);

impl Place for OnMariadb {
    async fn connect(&self) -> impl FullStorage {
        let options = MySql::options().prefix(&self.1).durable(false).look_every(TENTH / 2);
        options.connect(&self.0).await.unwrap()
    }
}

async fn node(place: &impl Place, log: &Log, gate: &std::sync::Arc<Gate>) -> Runtime {
    let builder = Runtime::builder().storage(place.connect().await).discover(false);
    let builder = builder.state(log.clone()).state(std::sync::Arc::clone(gate));
    builder.handler::<beat>().handler::<hold>().start().await.unwrap()
}

fn gate() -> std::sync::Arc<Gate> {
    std::sync::Arc::new(Gate { inside: AtomicUsize::new(0), open: Semaphore::new(0) })
}

async fn each_tick_makes_one_task_however_many_nodes_live(place: impl Place) {
    let (log, gate) = (Log::default(), gate());
    let nodes = [
        node(&place, &log, &gate).await,
        node(&place, &log, &gate).await,
        node(&place, &log, &gate).await,
    ];
    let wish = beat::dispatch().every(TENTH).missed(Missed::All(HOUR)).overlap(Overlap::Allow);
    let first = wish.key("k").on(&nodes[0]).await.unwrap().next.unwrap();
    let schedules = nodes[1].schedules();
    let info = async || schedules.get("beat", "k").await.unwrap().unwrap();
    until(async || info().await.runs >= 30).await;
    let last = schedules.pause("beat", "k").await.unwrap();
    let mut filter = TaskFilter::default();
    filter.tag = Some((SCHEDULE_TAG.to_owned(), "k".to_owned()));
    let tasks = nodes[2].tasks(filter, Page { before: None, limit: 1_000 }).await.unwrap();
    let mut ticks: BTreeMap<SystemTime, u32> = BTreeMap::new();
    for task in tasks {
        *ticks.entry(task.tick.unwrap()).or_default() += 1;
    }
    let each: BTreeMap<_, _> = (0..).map(|n| (first + n * TENTH, 1)).take(ticks.len()).collect();
    assert_eq!(ticks, each, "from the first one on, each once");
    assert_eq!(last.runs, ticks.len() as u64);
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}

async fn one_waits_and_begins_when_the_one_before_has_ended(place: impl Place) {
    for overlap in [Overlap::QueueOne, Overlap::CancelPrevious] {
        let (log, gate) = (Log::default(), gate());
        let nodes = [node(&place, &log, &gate).await, node(&place, &log, &gate).await];
        let wish = hold::dispatch().every(TENTH).overlap(overlap).max_runs(4);
        wish.key(format!("{overlap:?}")).on(&nodes[0]).await.unwrap();
        let key = format!("{overlap:?}");
        let info = async || nodes[1].schedules().get("hold", &key).await.unwrap().unwrap();
        if overlap == Overlap::QueueOne {
            for begun in 1..=4 {
                until(async || log.len() == begun).await;
                until(async || begun == 4 || info().await.held.is_some()).await;
                gate.open.add_permits(1);
            }
        }
        until(async || {
            let info = info().await;
            info.state == ScheduleState::Ended && info.runs == 4
        })
        .await;
        until(async || log.len() == 4).await;
        let beside = |line: &String| overlap == Overlap::QueueOne && line != "begun beside 0";
        assert!(!log.taken().iter().any(beside), "{:?}", log.taken());
        gate.open.add_permits(9);
        for node in nodes {
            node.shutdown().await.unwrap();
        }
    }
}

async fn what_is_broken_is_set_aside_and_stops_no_other(place: impl Place) {
    let (log, gate) = (Log::default(), gate());
    let (node, storage) = (node(&place, &log, &gate).await, place.connect().await);
    for key in ["odd", "sound"] {
        beat::dispatch().every(TENTH).key(key).on(&node).await.unwrap();
    }
    let info = async |key| node.schedules().get("beat", key).await.unwrap().unwrap();
    // Whoever takes a tick in between is quicker, and it is tried again.
    until(async || {
        let stored = storage.schedule("beat".to_owned(), "odd".to_owned()).await.unwrap().unwrap();
        let text = stored.row.body.as_str().unwrap().replacen("v1 every", "v1 what", 1);
        let body = Body { codec: Body::JSON, bytes: text.as_bytes().into() };
        let change = ScheduleChange::to(Some(stored.revision), ScheduleRow { body, ..stored.row });
        storage.change_schedules(vec![change]).await.unwrap();
        matches!(info("odd").await.state, ScheduleState::Broken(_))
    })
    .await;
    let runs = info("sound").await.runs;
    until(async || info("sound").await.runs > runs + 5).await;
    assert_eq!(node.health().await.broken.len(), 1);
    node.shutdown().await.unwrap();
}

async fn what_a_newer_program_declares_takes_the_place_of_the_older_one(place: impl Place) {
    let start = async |newer: bool| {
        let builder = Runtime::builder().storage(place.connect().await).discover(false);
        match newer {
            true => builder.handler::<New>().start().await.unwrap(),
            false => builder.handler::<Old>().start().await.unwrap(),
        }
    };
    let (old, new) = (start(false).await, start(true).await);
    let again = start(false).await;
    let info = again.schedules().get("declared", "declared").await.unwrap().unwrap();
    assert_eq!((&*info.words, info.declared), ("every day at 04:00 (UTC)", true));
    for node in [old, new, again] {
        node.shutdown().await.unwrap();
    }
}

macro_rules! on_each_storage {
    ($($what:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $what() {
                super::$what(super::OnFile(tempfile::tempdir().unwrap())).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $what() {
                let Some(server) = evertask_servers::postgres() else { return };
                super::$what(super::OnPostgres(server.url(), evertask_servers::schema())).await;
            })+
        }
        mod mariadb {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $what() {
                let Some(server) = evertask_servers::mariadb() else { return };
                let prefix = format!("{}_", evertask_servers::schema());
                super::$what(super::OnMariadb(server.url(), prefix)).await;
            })+
        }
    };
}

on_each_storage!(
    each_tick_makes_one_task_however_many_nodes_live,
    one_waits_and_begins_when_the_one_before_has_ended,
    what_is_broken_is_set_aside_and_stops_no_other,
    what_a_newer_program_declares_takes_the_place_of_the_older_one,
);
