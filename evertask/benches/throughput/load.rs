//! How many tasks a second: stored, run from a backlog, and both at once.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use evertask::{Runtime, dispatch, dispatch_all, storage::Sqlite};
use rusqlite::Connection;
use tokio::task::JoinSet;

use crate::{
    Outcome, Scale, Welcome, executor,
    floor::Floor,
    rate::{Rate, Watch, median},
    table::{RateGoal, Table, percentile},
};

/// What a run is made of.
#[derive(Debug, Clone, Copy)]
struct Load {
    /// What is measured.
    what: What,
    /// How many dispatch at once.
    dispatchers: usize,
    /// How many tasks run at once.
    slots: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Store,
    Drain,
    Both,
}

/// One dispatch after the other, beside a bare commit each, and beside one that another thread is asked for.
pub(crate) fn one(scale: &Scale, table: &mut Table) -> Outcome {
    let load = Load { what: What::Store, dispatchers: 1, slots: 0 };
    let tasks = scale.tasks / 20;
    let micros = |seconds: f64| seconds * 1e6 / tasks as f64;
    let (mut runs, mut floors, mut asked) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.repetitions {
        let directory = tempfile::tempdir_in(&scale.place)?;
        let path = |name| directory.path().join(name);
        let executor = executor()?;
        let ours = executor.block_on(run(&path("tasks.db"), load, tasks))?;
        let bare = executor.block_on(floor(&path("floor.db"), load.what, tasks, 1))?;
        let by_thread = executor.block_on(async {
            let all = (0..tasks as u64).map(Welcome::to).collect();
            Floor::open(&path("asked.db")).await?.asked(all).await
        })?;
        asked.push(micros(by_thread.as_secs_f64()));
        eprintln!("  {ours}; floor {bare}; asked of a thread {:.0} µs", asked[asked.len() - 1]);
        runs.push(ours);
        floors.push(bare);
    }
    let time = |rate: Rate| 1e6 / rate.per_second();
    let (ours, bare) = (time(median(&runs)), time(median(&floors)));
    table.time("one after the other", ours, bare, Some(1.3));
    let asked = percentile(&mut asked, 50);
    table.time("the same, beside commits that a thread is asked for", ours, asked, None);
    Ok(())
}

pub(crate) fn store64(scale: &Scale, table: &mut Table) -> Outcome {
    let load = Load { what: What::Store, dispatchers: 64, slots: 0 };
    case(scale, table, "store64", load, None, (0.5, Some(24_000.0)))
}

pub(crate) fn drain(scale: &Scale, table: &mut Table) -> Outcome {
    let load = Load { what: What::Drain, dispatchers: 0, slots: 16 };
    case(scale, table, "drain", load, None, (0.5, Some(26_000.0)))
}

pub(crate) fn both(scale: &Scale, table: &mut Table) -> Outcome {
    let load = Load { what: What::Both, dispatchers: 16, slots: 16 };
    case(scale, table, "both", load, None, (0.5, Some(7_000.0)))
}

pub(crate) fn wide(scale: &Scale, table: &mut Table) -> Outcome {
    let cases =
        [("wide store", What::Store), ("wide drain", What::Drain), ("wide both", What::Both)];
    for (name, what) in cases {
        let load = Load { what, dispatchers: 256, slots: 128 };
        case(scale, table, name, load, Some(100), (0.3, None))?;
    }
    Ok(())
}

/// Runs and floors in turn. Without a batch given, the floor takes the one that the run before it reached.
fn case(
    scale: &Scale,
    table: &mut Table,
    name: &str,
    load: Load,
    batch: Option<usize>,
    goal: RateGoal,
) -> Outcome {
    let (mut runs, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..scale.repetitions {
        let directory = tempfile::tempdir_in(&scale.place)?;
        let run =
            executor()?.block_on(run(&directory.path().join("tasks.db"), load, scale.tasks))?;
        let reached = run.batch.map_or(1, |batch| batch.round() as usize).max(1);
        let path = directory.path().join("floor.db");
        let floor =
            executor()?.block_on(floor(&path, load.what, scale.tasks, batch.unwrap_or(reached)))?;
        eprintln!("  {run}; floor {floor}");
        runs.push(run);
        floors.push(floor);
    }
    table.rate(name, &runs, &floors, Some(goal));
    Ok(())
}

async fn run(path: &Path, load: Load, tasks: usize) -> Outcome<Rate> {
    let storage = Sqlite::open(path).await?;
    let Load { what, dispatchers, slots } = load;
    if what == What::Drain {
        let client =
            Runtime::builder().storage(storage.clone()).handler::<Welcome>().client().await?;
        let backlog: Vec<_> = (0..tasks as u64).map(Welcome::to).collect();
        for some in backlog.chunks(5_000) {
            dispatch_all(some.to_vec()).await?;
        }
        client.shutdown().await?;
    }
    let ended = Ended::look(path)?;
    let (commits, watch) = (storage.traffic().0, Watch::start());
    let builder = Runtime::builder().storage(storage.clone()).handler::<Welcome>();
    let runtime = match what {
        What::Store => builder.client().await?,
        What::Drain | What::Both => builder.concurrency(slots).start().await?,
    };
    if what != What::Drain {
        store(dispatchers, tasks).await?;
    }
    if what != What::Store {
        ended.wait(tasks).await?;
    }
    let rate = watch.stop(tasks).commits(storage.traffic().0 - commits);
    runtime.shutdown().await?;
    storage.close().await;
    Ok(rate)
}

/// Dispatches so many tasks, one after the other from each dispatcher.
pub(crate) async fn store(dispatchers: usize, tasks: usize) -> Outcome {
    let mut all = JoinSet::new();
    for dispatcher in 0..dispatchers {
        all.spawn(async move {
            for n in (dispatcher..tasks).step_by(dispatchers) {
                dispatch(Welcome::to(n as u64)).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    Ok(())
}

/// Looks from outside whether all is done, as another program would.
struct Ended(Arc<Mutex<Connection>>);

impl Ended {
    fn look(path: &Path) -> Outcome<Self> {
        Ok(Self(Arc::new(Mutex::new(Connection::open(path)?))))
    }

    async fn wait(&self, tasks: usize) -> Outcome {
        loop {
            let conn = Arc::clone(&self.0);
            let live = tokio::task::spawn_blocking(move || {
                // Both have an index of their own that is empty when all is done.
                let conn = conn.lock().unwrap_or_else(PoisonError::into_inner);
                let mut select = conn.prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM evertask_tasks INDEXED BY evertask_pending WHERE state = 0)
                         OR EXISTS (SELECT 1 FROM evertask_tasks INDEXED BY evertask_running WHERE state = 1)",
                )?;
                select.query_row([], |row| row.get::<_, bool>(0))
            });
            if !live.await?? {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let conn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let completed: i64 =
            conn.query_row("SELECT count(*) FROM evertask_tasks WHERE state = 2", [], |row| {
                row.get(0)
            })?;
        if completed == i64::try_from(tasks)? {
            Ok(())
        } else {
            Err(format!("{completed} of {tasks} completed").into())
        }
    }
}

/// The same in bare SQL, so many to a transaction.
async fn floor(path: &Path, what: What, tasks: usize, batch: usize) -> Outcome<Rate> {
    let mut floor = Floor::open(path).await?;
    let all: Vec<_> = (0..tasks as u64).map(Welcome::to).collect();
    let mut backlog = all.chunks(batch);
    if what == What::Drain {
        for some in all.chunks(5_000) {
            floor.transaction(false, some, 0)?;
        }
        backlog = [].chunks(batch);
    }
    let claim = if what == What::Store { 0 } else { batch };
    let watch = Watch::start();
    let mut done = 0;
    while done < tasks {
        let some = backlog.next().unwrap_or_default();
        let held = floor.transaction(true, some, claim)?;
        done += if what == What::Store { some.len() } else { held };
    }
    if what != What::Store {
        floor.transaction(true, &[], 0)?;
    }
    Ok(watch.stop(tasks))
}
