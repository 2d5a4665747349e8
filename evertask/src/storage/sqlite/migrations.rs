//! The tables, and how they got to be what they are.
//!
//! Each step has a number and says what number a program must know at least to use the database after it. So an older program
//! goes on working beside a newer one, until a step takes away what it needs; such a step comes one release later.

use std::{path::Path, sync::Arc};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::error::storage_error;
use crate::storage::{StorageError, StorageErrorKind};

#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) version: i64,
    /// The last step a program must know to use the database after this one.
    pub(super) oldest: i64,
    pub(super) sql: &'static str,
}

/// Those that this program knows.
pub(super) const STEPS: &[Step] = &[
    Step { version: 1, oldest: 1, sql: include_str!("migrations/0001_tasks.sql") },
    Step { version: 2, oldest: 1, sql: include_str!("migrations/0002_schedules.sql") },
];

/// The last step that a program knows which knows these.
pub(super) fn last(steps: &[Step]) -> i64 {
    steps.last().map_or(0, |step| step.version)
}

/// Refuses a database that has become something this program cannot use. Changes nothing.
pub(super) fn check(conn: &Connection, path: &Path, steps: &[Step]) -> Result<(), StorageError> {
    let known = last(steps);
    let told = |error| storage_error(path, "cannot open the storage", &Arc::new(error));
    let (version, oldest) = stand(conn).map_err(told)?;
    if oldest <= known {
        return Ok(());
    }
    let message = format!(
        "`{}` was made by a newer evertask (its tables are at step {version} and need a program that knows step {oldest}; \
         this one knows {}); update this program",
        path.display(),
        known
    );
    Err(StorageError::new(StorageErrorKind::TooNew, message))
}

/// Takes the steps that were not taken yet. Safe with any number of programs doing so at once.
pub(super) fn run(conn: &mut Connection, steps: &[Step], now: i64) -> rusqlite::Result<()> {
    // Most times there is nothing to do, and then nobody has to wait for the lock.
    if stand(conn)?.0 >= last(steps) {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(
        "CREATE TABLE IF NOT EXISTS evertask_migrations (
             version INTEGER PRIMARY KEY, oldest INTEGER NOT NULL, at INTEGER NOT NULL
         ) STRICT",
    )?;
    // Asked again under the lock: another program may have taken steps meanwhile.
    let (version, _) = stand(&tx)?;
    for step in steps.iter().filter(|step| step.version > version) {
        tx.execute_batch(step.sql)?;
        tx.execute(
            "INSERT INTO evertask_migrations (version, oldest, at) VALUES (?1, ?2, ?3)",
            params![step.version, step.oldest, now],
        )?;
    }
    tx.commit()
}

/// The last step taken, and the one a program must know; zeros for a database without our tables.
fn stand(conn: &Connection) -> rusqlite::Result<(i64, i64)> {
    let ours = conn
        .query_row(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'evertask_migrations'",
            [],
            |_| Ok(()),
        )
        .optional()?;
    if ours.is_none() {
        return Ok((0, 0));
    }
    conn.query_row(
        "SELECT coalesce(max(version), 0), coalesce(max(oldest), 0) FROM evertask_migrations",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}
