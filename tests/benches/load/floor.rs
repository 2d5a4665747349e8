//! The floors: by hand, for these tasks and nothing else, as durable as evertask's own.
//!
//! In memory: a tokio channel and a spawned task for each, with the same JSON. On SQLite: bare transactions on evertask's tables. On a
//! server: [`bare`](crate::bare). As many tasks to a transaction as evertask had in the mean of the run before.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::JoinSet,
};

use crate::{
    Outcome,
    bare::Bare,
    rate::What,
    sqlite,
    subject::Subject,
    work::{Welcome, ran, until_ran},
};

/// Tasks in a transaction, where it is not known how many evertask had.
pub(crate) const BATCH: usize = 100;

/// The floor of one storage.
pub(crate) enum Floor<'s> {
    Tokio,
    Sqlite(Box<sqlite::Floor>, tempfile::TempDir),
    Server(Bare<'s>),
}

impl<'s> Floor<'s> {
    pub(crate) async fn open(subject: &'s Subject, place: &Path) -> Outcome<Self> {
        Ok(match subject {
            Subject::Memory => Self::Tokio,
            Subject::Sqlite(_) => {
                let directory = tempfile::tempdir_in(place)?;
                let floor = sqlite::Floor::open(&directory.path().join("floor.db")).await?;
                Self::Sqlite(Box::new(floor), directory)
            }
            Subject::Postgres(server) => Self::Server(Bare::on_postgres(server).await?),
            Subject::Mariadb(server) => Self::Server(Bare::on_mariadb(server).await?),
        })
    }

    /// Tasks per second, so many to a transaction.
    pub(crate) async fn rate(&mut self, what: What, tasks: usize, batch: usize) -> Outcome<f64> {
        let all: Vec<_> = (0..tasks as u64).map(Welcome::to).collect();
        let took = match self {
            Self::Tokio => tokio_takes(what, all).await?,
            Self::Sqlite(floor, _) => sqlite_takes(floor, what, &all, batch)?,
            Self::Server(bare) => bare.takes(what, &all, batch).await?,
        };
        Ok(tasks as f64 / took.as_secs_f64())
    }

    /// Tasks per second that a thread stores one by one, each time it is asked; where a thread has to be asked.
    pub(crate) async fn asked(self, tasks: usize) -> Outcome<Option<f64>> {
        let Self::Sqlite(floor, _directory) = self else { return Ok(None) };
        let took = floor.asked((0..tasks as u64).map(Welcome::to).collect()).await?;
        Ok(Some(tasks as f64 / took.as_secs_f64()))
    }

    /// Runs what arrives, until nothing more does.
    pub(crate) async fn serve(self, arrivals: UnboundedReceiver<Welcome>) -> Outcome {
        match self {
            Self::Tokio => {
                let (sender, receiver) = mpsc::unbounded_channel();
                let runs = tokio::spawn(spawn_all(receiver));
                tokio::spawn(pass_on(arrivals, sender)).await??;
                runs.await?
            }
            Self::Sqlite(floor, directory) => {
                let served = tokio::task::spawn_blocking(move || serve_sqlite(*floor, arrivals));
                served.await??;
                drop(directory);
                Ok(())
            }
            Self::Server(bare) => bare.serve(arrivals).await,
        }
    }
}

async fn pass_on(
    mut arrivals: UnboundedReceiver<Welcome>,
    to: UnboundedSender<Vec<u8>>,
) -> Outcome {
    while let Some(task) = arrivals.recv().await {
        to.send(serde_json::to_vec(&task)?)?;
    }
    Ok(())
}

async fn spawn_all(mut receiver: UnboundedReceiver<Vec<u8>>) -> Outcome {
    while let Some(payload) = receiver.recv().await {
        let task: Welcome = serde_json::from_slice(&payload)?;
        tokio::spawn(async move { task.began() });
    }
    Ok(())
}

async fn tokio_takes(what: What, all: Vec<Welcome>) -> Outcome<Duration> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (goal, mut start) = (ran() + all.len() as u64, Instant::now());
    let (dispatchers, runs) = match what {
        What::Store(dispatchers) => (dispatchers, None),
        What::Both(dispatchers) => (dispatchers, Some(tokio::spawn(spawn_all(receiver)))),
        What::Bulk => (1, None),
        What::Drain => {
            for task in &all {
                sender.send(serde_json::to_vec(task)?)?;
            }
            start = Instant::now();
            drop(sender);
            spawn_all(receiver).await?;
            until_ran(goal).await;
            return Ok(start.elapsed());
        }
    };
    let mut stores = JoinSet::new();
    for some in all.chunks(all.len().div_ceil(dispatchers)) {
        let (some, sender) = (some.to_vec(), sender.clone());
        stores.spawn(async move {
            for task in some {
                // Nobody may listen where nothing is to be run.
                let _ = sender.send(serde_json::to_vec(&task)?);
                tokio::task::consume_budget().await;
            }
            Outcome::Ok(())
        });
    }
    while let Some(stored) = stores.join_next().await {
        stored??;
    }
    drop(sender);
    if let Some(runs) = runs {
        runs.await??;
        until_ran(goal).await;
    }
    Ok(start.elapsed())
}

fn sqlite_takes(
    floor: &mut sqlite::Floor,
    what: What,
    all: &[Welcome],
    batch: usize,
) -> Outcome<Duration> {
    let mut start = Instant::now();
    if what == What::Drain {
        for some in all.chunks(5_000) {
            floor.transaction(false, some, 0)?;
        }
        start = Instant::now();
    }
    let mut waiting = if what == What::Drain { [].chunks(batch) } else { all.chunks(batch) };
    let claim = if matches!(what, What::Store(_) | What::Bulk) { 0 } else { batch };
    let mut done = 0;
    while done < all.len() {
        let some = waiting.next().unwrap_or_default();
        let held = floor.transaction(true, some, claim)?;
        done += if claim == 0 { some.len() } else { held };
    }
    floor.transaction(true, &[], 0)?;
    Ok(start.elapsed())
}

/// One commit for what has arrived, one for its claim, and its end in the next one: no one learns that a task is stored before.
fn serve_sqlite(mut floor: sqlite::Floor, mut arrivals: UnboundedReceiver<Welcome>) -> Outcome {
    while let Some(first) = arrivals.blocking_recv() {
        let mut some = vec![first];
        while let Ok(next) = arrivals.try_recv() {
            some.push(next);
        }
        floor.transaction(true, &some, 0)?;
        floor.transaction(false, &[], some.len())?;
        some.iter().for_each(Welcome::began);
    }
    Ok(())
}
