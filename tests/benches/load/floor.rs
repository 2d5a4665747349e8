//! The floors: by hand, for these tasks and nothing else, as durable as evertask's own.
//!
//! In memory: a tokio channel and a spawned task for each, with the same JSON. On SQLite: bare transactions on evertask's tables,
//! 100 tasks to each. On PostgreSQL: a bare table with one index, 100 rows to a statement, and for what runs the better of one and
//! four connections.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use evertask_servers::Cluster;
use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::JoinSet,
};
use tokio_postgres::{Client, NoTls, Statement};

use crate::{
    Outcome,
    rate::What,
    sqlite,
    subject::Subject,
    work::{Welcome, ran, until_ran},
};

/// Tasks in a transaction.
const BATCH: usize = 100;

/// The floor of one storage.
pub(crate) enum Floor<'s> {
    Tokio,
    Sqlite(Box<sqlite::Floor>, tempfile::TempDir),
    Postgres(&'s Cluster, String),
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
            Subject::Postgres(server) => {
                let schema = evertask_servers::schema();
                let sql = connect(server).await?;
                sql.batch_execute(&format!(
                    "CREATE SCHEMA {schema};
                     CREATE TABLE {schema}.bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state smallint NOT NULL DEFAULT 0,
                         due_at timestamptz NOT NULL DEFAULT now(), payload bytea NOT NULL);
                     CREATE INDEX ON {schema}.bare (due_at, id) WHERE state = 0;"
                ))
                .await?;
                Self::Postgres(server, schema)
            }
        })
    }

    /// Tasks per second.
    pub(crate) async fn rate(&mut self, what: What, tasks: usize) -> Outcome<f64> {
        let all: Vec<_> = (0..tasks as u64).map(Welcome::to).collect();
        let took = match self {
            Self::Tokio => tokio_takes(what, all).await?,
            Self::Sqlite(floor, _) => sqlite_takes(floor, what, &all)?,
            Self::Postgres(server, schema) => postgres_takes(server, schema, what, &all).await?,
        };
        Ok(tasks as f64 / took.as_secs_f64())
    }

    /// Runs what arrives, until nothing more does.
    pub(crate) async fn serve(self, arrivals: UnboundedReceiver<Welcome>) -> Outcome {
        match self {
            Self::Tokio => {
                let (sender, receiver) = mpsc::unbounded_channel();
                let runs = tokio::spawn(spawn_all(receiver));
                pass_on(arrivals, &sender).await?;
                drop(sender);
                runs.await?
            }
            Self::Sqlite(floor, directory) => {
                let served = tokio::task::spawn_blocking(move || serve_sqlite(*floor, arrivals));
                served.await??;
                drop(directory);
                Ok(())
            }
            Self::Postgres(server, schema) => serve_postgres(server, &schema, arrivals).await,
        }
    }
}

async fn pass_on(
    mut arrivals: UnboundedReceiver<Welcome>,
    to: &UnboundedSender<Vec<u8>>,
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

fn sqlite_takes(floor: &mut sqlite::Floor, what: What, all: &[Welcome]) -> Outcome<Duration> {
    let batch = if what == What::Store(1) { 1 } else { BATCH };
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

async fn connect(server: &Cluster) -> Outcome<Client> {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A connection that stores, claims and finishes.
struct Bare {
    sql: Client,
    insert: Statement,
    claim: Statement,
    finish: Statement,
}

impl Bare {
    async fn new(server: &Cluster, schema: &str) -> Outcome<Self> {
        let sql = connect(server).await?;
        let insert =
            format!("INSERT INTO {schema}.bare (payload) SELECT * FROM unnest($1::bytea[])");
        let claim = format!(
            "UPDATE {schema}.bare SET state = 1 WHERE id = ANY(ARRAY(SELECT id FROM {schema}.bare WHERE state = 0
                 ORDER BY due_at, id LIMIT {BATCH} FOR UPDATE SKIP LOCKED)) RETURNING id, payload"
        );
        let finish = format!("UPDATE {schema}.bare SET state = 2 WHERE id = ANY($1)");
        Ok(Self {
            insert: sql.prepare(&insert).await?,
            claim: sql.prepare(&claim).await?,
            finish: sql.prepare(&finish).await?,
            sql,
        })
    }

    async fn store(&self, some: &[Welcome]) -> Outcome {
        let rows = some.iter().map(serde_json::to_vec).collect::<Result<Vec<_>, _>>()?;
        self.sql.execute(&self.insert, &[&rows]).await?;
        Ok(())
    }

    /// Claims, runs and finishes; how many.
    async fn work(&self) -> Outcome<usize> {
        let rows = self.sql.query(&self.claim, &[]).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let mut ids: Vec<i64> = Vec::with_capacity(rows.len());
        for row in &rows {
            ids.push(row.get(0));
            serde_json::from_slice::<Welcome>(row.get(1))?.began();
        }
        self.sql.execute(&self.finish, &[&ids]).await?;
        Ok(rows.len())
    }
}

async fn postgres_takes(
    server: &Cluster,
    schema: &str,
    what: What,
    all: &[Welcome],
) -> Outcome<Duration> {
    let one = Bare::new(server, schema).await?;
    let batch = if what == What::Store(1) { 1 } else { BATCH };
    let store = async || -> Outcome {
        for some in all.chunks(batch) {
            one.store(some).await?;
        }
        Ok(())
    };
    let start = Instant::now();
    match what {
        What::Store(_) | What::Bulk => store().await?,
        What::Drain => {
            // The better of two.
            let mut best = Duration::MAX;
            for connections in [1, 4] {
                store().await?;
                best = best.min(work(server, schema, connections, all.len()).await?);
            }
            return Ok(best);
        }
        What::Both(_) => {
            let (stored, worked) = tokio::join!(store(), work(server, schema, 1, all.len()));
            stored.and(worked)?;
        }
    }
    Ok(start.elapsed())
}

/// Until so many are done, by so many connections.
async fn work(
    server: &Cluster,
    schema: &str,
    connections: usize,
    tasks: usize,
) -> Outcome<Duration> {
    let goal = ran() + tasks as u64;
    let mut workers = Vec::new();
    for _ in 0..connections {
        workers.push(Bare::new(server, schema).await?);
    }
    let (start, mut all) = (Instant::now(), JoinSet::new());
    for worker in workers {
        all.spawn(async move {
            while ran() < goal {
                if worker.work().await? == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Outcome::Ok(())
        });
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    Ok(start.elapsed())
}

/// What has arrived is stored by one connection, told to the other, and run there.
async fn serve_postgres(
    server: &Cluster,
    schema: &str,
    mut arrivals: UnboundedReceiver<Welcome>,
) -> Outcome {
    let (one, other) = (Bare::new(server, schema).await?, Bare::new(server, schema).await?);
    let (tell, mut told) = mpsc::unbounded_channel();
    let works = tokio::spawn(async move {
        while told.recv().await.is_some() {
            while other.work().await? > 0 {}
        }
        Outcome::Ok(())
    });
    while let Some(first) = arrivals.recv().await {
        let mut some = vec![first];
        while let Ok(next) = arrivals.try_recv() {
            some.push(next);
        }
        one.store(&some).await?;
        tell.send(())?;
    }
    drop(tell);
    works.await?
}
