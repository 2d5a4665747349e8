//! The tables, and how they got to be what they are.
//!
//! Each step has a number and says what number a program must know at least to use the database after it. So an older program
//! goes on working beside a newer one, until a step takes away what it needs; such a step comes one release later.

use std::fmt::Write;

use tokio_postgres::types::Type;

use super::{
    connection::{Connection, Settings, quoted},
    error::Fault,
    row::get,
};
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
    Step { version: 3, oldest: 1, sql: include_str!("migrations/0003_enqueue.sql") },
    Step { version: 4, oldest: 1, sql: include_str!("migrations/0004_store.sql") },
];

/// The last step that a program knows which knows these.
fn last(steps: &[Step]) -> i64 {
    steps.last().map_or(0, |step| step.version)
}

/// These steps as one script, for people whose database administrator runs it. It may be run again.
pub(super) fn script(schema: &str, steps: &[Step]) -> String {
    let mut script = format!("BEGIN;\n{}", first(schema));
    for step in steps {
        let Step { version, oldest, sql } = step;
        // Quoted by a word that stands in none of the steps.
        let _infallible = write!(
            script,
            "\nDO $step$ BEGIN IF NOT EXISTS (SELECT 1 FROM migrations WHERE version = {version}) THEN EXECUTE $sql$\n{sql}$sql$;\n\
             INSERT INTO migrations (version, oldest) VALUES ({version}, {oldest});\nEND IF; END $step$;\n"
        );
    }
    script.push_str("COMMIT;\n");
    script
}

/// What precedes the steps, under a lock that lets only one program take them at a time.
fn first(schema: &str) -> String {
    let (name, literal) = (quoted(schema), schema.replace('\'', "''"));
    format!(
        "SELECT pg_advisory_xact_lock(hashtextextended('evertask.{literal}', 0));\n\
         CREATE SCHEMA IF NOT EXISTS {name};\n\
         SET LOCAL search_path = {name}, pg_temp;\n\
         CREATE TABLE IF NOT EXISTS migrations (version bigint PRIMARY KEY, oldest bigint NOT NULL, \
         at timestamptz NOT NULL DEFAULT now());\n"
    )
}

/// Brings the tables up to date, or only looks whether they are; refuses what this program cannot use.
pub(super) async fn run(
    conn: &Connection,
    settings: &Settings,
    steps: &[Step],
    migrate: bool,
) -> Result<(), Fault> {
    let known = last(steps);
    let (version, oldest) = stand(conn, &settings.schema).await?;
    if oldest > known {
        let message = format!(
            "the schema `{}` of {} was made by a newer evertask (its tables are at step {version} and need a program that \
             knows step {oldest}; this one knows {}); update this program",
            settings.schema, settings.place, known
        );
        return Err(StorageError::new(StorageErrorKind::TooNew, message).into());
    }
    // Most times there is nothing to do, and then nobody has to wait for the lock.
    if version >= known {
        return Ok(());
    }
    if migrate {
        return conn.script(&script(&settings.schema, steps)).await;
    }
    let message = format!(
        "the schema `{}` of {} is at step {version} of evertask's tables, and this program needs step {}: run the SQL that \
         `Postgres::migrations_sql(\"{}\")` gives, or let evertask do it with `auto_migrate(true)`",
        settings.schema, settings.place, known, settings.schema
    );
    Err(StorageError::new(StorageErrorKind::Other, message).into())
}

/// The last step taken, and the one a program must know; zeros for a schema without our tables.
async fn stand(conn: &Connection, schema: &str) -> Result<(i64, i64), Fault> {
    let table = format!("{}.migrations", quoted(schema));
    let there = conn.ask("SELECT to_regclass($1) IS NOT NULL", &[(&table, Type::TEXT)]).await?;
    if there.first().map(|row| get(row, 0)).transpose()? != Some(true) {
        return Ok((0, 0));
    }
    let sql = format!("SELECT coalesce(max(version), 0), coalesce(max(oldest), 0) FROM {table}");
    match conn.ask(&sql, &[]).await?.first() {
        Some(row) => Ok((get(row, 0)?, get(row, 1)?)),
        None => Ok((0, 0)),
    }
}
