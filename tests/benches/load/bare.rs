//! The floor of a database server: a bare table with one index, as many rows to a statement as evertask had in the mean of the run
//! before, and for what runs the better of one and four connections.

mod mariadb;
mod postgres;

use std::time::{Duration, Instant};

use evertask_servers::{Cluster, Mariadb};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    task::JoinSet,
};

use crate::{
    Outcome,
    floor::BATCH,
    rate::What,
    work::{Welcome, ran},
};

/// A table on a server.
pub(crate) enum Bare<'s> {
    Postgres(&'s Cluster, String),
    Mariadb(&'s Mariadb, String),
}

/// A connection that stores, claims and finishes.
enum Session {
    Postgres(postgres::Session),
    Mariadb(mariadb::Session),
}

impl<'s> Bare<'s> {
    pub(crate) async fn on_postgres(server: &'s Cluster) -> Outcome<Self> {
        let schema = evertask_servers::schema();
        postgres::create(server, &schema).await?;
        Ok(Self::Postgres(server, schema))
    }

    pub(crate) async fn on_mariadb(server: &'s Mariadb) -> Outcome<Self> {
        let table = evertask_servers::schema();
        mariadb::create(server, &table).await?;
        Ok(Self::Mariadb(server, table))
    }

    async fn connect(&self) -> Outcome<Session> {
        Ok(match self {
            Self::Postgres(server, schema) => {
                Session::Postgres(postgres::Session::new(server, schema).await?)
            }
            Self::Mariadb(server, table) => {
                Session::Mariadb(mariadb::Session::new(server, table).await?)
            }
        })
    }

    /// How long these tasks take, so many to a transaction.
    pub(crate) async fn takes(
        &self,
        what: What,
        all: &[Welcome],
        batch: usize,
    ) -> Outcome<Duration> {
        let mut one = self.connect().await?;
        let start = Instant::now();
        match what {
            What::Store(_) | What::Bulk => one.store_all(all, batch).await?,
            What::Drain => {
                // The better of two.
                let mut best = Duration::MAX;
                for connections in [1, 4] {
                    one.store_all(all, BATCH).await?;
                    best = best.min(self.work(connections, all.len(), batch).await?);
                }
                return Ok(best);
            }
            What::Both(_) => {
                let (stored, worked) =
                    tokio::join!(one.store_all(all, batch), self.work(1, all.len(), batch));
                stored.and(worked)?;
            }
        }
        Ok(start.elapsed())
    }

    /// Until so many are done, by so many connections.
    async fn work(&self, connections: usize, tasks: usize, batch: usize) -> Outcome<Duration> {
        let goal = ran() + tasks as u64;
        let mut sessions = Vec::new();
        for _ in 0..connections {
            sessions.push(self.connect().await?);
        }
        let (start, mut all) = (Instant::now(), JoinSet::new());
        for mut session in sessions {
            all.spawn(async move {
                while ran() < goal {
                    if session.work(batch).await? == 0 {
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
    pub(crate) async fn serve(&self, mut arrivals: UnboundedReceiver<Welcome>) -> Outcome {
        let (mut one, mut other) = (self.connect().await?, self.connect().await?);
        let (tell, mut told) = mpsc::unbounded_channel();
        let works = tokio::spawn(async move {
            while told.recv().await.is_some() {
                while other.work(BATCH).await? > 0 {}
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
}

impl Session {
    async fn store_all(&mut self, all: &[Welcome], batch: usize) -> Outcome {
        for some in all.chunks(batch) {
            self.store(some).await?;
        }
        Ok(())
    }

    async fn store(&mut self, some: &[Welcome]) -> Outcome {
        match self {
            Self::Postgres(session) => session.store(some).await,
            Self::Mariadb(session) => session.store(some).await,
        }
    }

    /// Claims at most so many, runs and finishes them; how many.
    async fn work(&mut self, batch: usize) -> Outcome<usize> {
        match self {
            Self::Postgres(session) => session.work(batch).await,
            Self::Mariadb(session) => session.work(batch).await,
        }
    }
}
