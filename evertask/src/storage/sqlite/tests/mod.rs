//! Tests of what is SQLite's own; what every storage must do is in the conformance suite.

use std::{path::PathBuf, sync::Arc};

use tempfile::TempDir;

use super::{Sqlite, request::Turn, transaction::Transaction};
use crate::{
    body::Body,
    storage::{Claim, ClaimedTask, Known, NewTask, NodeId, Storage, StorageError},
};

mod commits;
mod deletion;
mod lanes;
mod opening;
mod plans;
mod processes;
#[cfg(feature = "conformance")]
mod rolling;

/// A directory of its own for one database.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("tasks.db")
    }

    async fn open(&self) -> Sqlite {
        // These tests lose no power, so they need not wait for the disk.
        Sqlite::options().durable(false).open(self.file()).await.unwrap()
    }
}

fn task(name: &str) -> NewTask {
    NewTask::new(name, Body::json(&"payload").unwrap())
}

fn keyed(name: &str, key: &str) -> NewTask {
    NewTask { key: Some(key.into()), ..task(name) }
}

/// Takes up to so many tasks of these handlers in the default queue.
async fn claim(
    sqlite: &Sqlite,
    node: NodeId,
    id: u64,
    names: &[&str],
    slots: usize,
) -> Vec<ClaimedTask> {
    let known = names.iter().map(|name| Known { name: (*name).into(), version: 1 });
    let handlers: Arc<[Known]> = known.collect();
    let claim = Claim::new(id, node, handlers, slots).queue("default", slots, 0);
    sqlite.claim(claim).await.unwrap().tasks
}

/// Runs anything in a write transaction.
async fn ask<T: Send + 'static>(
    sqlite: &Sqlite,
    transition: impl FnMut(&mut Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, StorageError> {
    sqlite.0.writer.ask(Turn::Between, 1, "cannot test", transition).await
}

async fn number(sqlite: &Sqlite, sql: &'static str) -> i64 {
    ask(sqlite, move |tx| tx.conn.query_row(sql, [], |row| row.get(0))).await.unwrap()
}
