//! The floor: the same transitions in bare SQL on evertask's own tables, for one kind of task and nobody else about.
//!
//! So a bare commit writes what one of evertask's does: a row with the same payload, and its entries in the same indexes.

use std::{
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use evertask::storage::Sqlite;
use rusqlite::{Connection, params};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{Outcome, Welcome};

const INSERT: &str =
    "INSERT INTO evertask_tasks (id, lane, created_at, due_at) VALUES (?1, ?2, ?3, ?3)";
const INSERT_PAYLOAD: &str = "INSERT INTO evertask_payloads (seq, codec, bytes) VALUES (?1, 0, ?2)";
const NEXT: &str = "SELECT seq FROM evertask_tasks INDEXED BY evertask_pending
     WHERE state = 0 AND lane = ?1 AND due_at <= ?2 ORDER BY due_at, id LIMIT ?3";
const TAKE: &str = "UPDATE evertask_tasks
     SET state = 1, lease = lease + 1, node = ?2, claim = ?3, begun = 1, started_at = ?4 WHERE seq = ?1";
const PAYLOAD: &str = "SELECT bytes FROM evertask_payloads WHERE seq = ?1";
const FINISH: &str = "UPDATE evertask_tasks
     SET state = 2, spent = spent + 1, finished_at = ?2, prune_at = ?2 + 86400000000, output_codec = 0, output = ?3,
         node = NULL, claim = NULL, begun = 0 WHERE seq = ?1";

/// A file with evertask's tables and one connection to it, as durable as evertask's own.
pub(crate) struct Floor {
    conn: Connection,
    lane: i64,
    node: Uuid,
    claims: i64,
    held: Vec<i64>,
}

impl Floor {
    pub(crate) async fn open(path: &Path) -> Outcome<Self> {
        Sqlite::open(path).await?.close().await;
        let conn = Connection::open(path)?;
        conn.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864;
             PRAGMA cache_size = -16384;
             INSERT INTO evertask_lanes (queue, name, version, priority, suspect) VALUES ('default', 'welcome', 1, 0, 0);",
        )?;
        conn.set_prepared_statement_cache_capacity(64);
        let lane = conn.last_insert_rowid();
        Ok(Self { conn, lane, node: Uuid::now_v7(), claims: 0, held: Vec::new() })
    }

    /// One transaction: finishes what it holds if told to, stores the given tasks, and claims up to so many.
    pub(crate) fn transaction(
        &mut self,
        finish: bool,
        store: &[Welcome],
        claim: usize,
    ) -> Outcome<usize> {
        let conn = &self.conn;
        let now = i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_micros())?;
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        if finish {
            let mut update = conn.prepare_cached(FINISH)?;
            for seq in self.held.drain(..) {
                update.execute(params![seq, now, b"null"])?;
            }
        }
        for task in store {
            let (id, payload) = (Uuid::now_v7(), serde_json::to_vec(task)?);
            conn.prepare_cached(INSERT)?.execute(params![id.as_bytes(), self.lane, now])?;
            let seq = conn.last_insert_rowid();
            conn.prepare_cached(INSERT_PAYLOAD)?.execute(params![seq, payload])?;
        }
        if claim > 0 {
            self.claims += 1;
            let next: Vec<i64> = conn
                .prepare_cached(NEXT)?
                .query_map(params![self.lane, now, i64::try_from(claim)?], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let mut take = conn.prepare_cached(TAKE)?;
            let mut payload = conn.prepare_cached(PAYLOAD)?;
            for seq in next {
                take.execute(params![seq, self.node.as_bytes(), self.claims, now])?;
                let bytes: Vec<u8> = payload.query_row([seq], |row| row.get(0))?;
                let _read: Welcome = serde_json::from_slice(&bytes)?;
                self.held.push(seq);
            }
        }
        conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(self.held.len())
    }

    /// Stores one after the other, a commit each, on a thread that is asked by a task which waits for the answer: what it takes to keep
    /// the disk away from an executor, whoever does it.
    pub(crate) async fn asked(mut self, tasks: Vec<Welcome>) -> Outcome<Duration> {
        let (ask, asked) = mpsc::channel::<(Welcome, oneshot::Sender<()>)>();
        let storing = thread::spawn(move || {
            while let Ok((task, answer)) = asked.recv() {
                self.transaction(false, &[task], 0)?;
                let _gone = answer.send(());
            }
            Outcome::Ok(())
        });
        let start = Instant::now();
        // Spawned: the thread that waits in `block_on` is no part of tokio's pool.
        let asking = tokio::spawn(async move {
            for task in tasks {
                let (answer, answered) = oneshot::channel();
                ask.send((task, answer))?;
                answered.await?;
            }
            Outcome::Ok(())
        });
        asking.await??;
        let took = start.elapsed();
        storing.join().map_err(|_| "the storing thread panicked")??;
        Ok(took)
    }
}
