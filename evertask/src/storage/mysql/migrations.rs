//! The tables, and how they got to be what they are.
//!
//! Each step has a number and says what number a program must know at least to use the database after it. So an older program
//! goes on working beside a newer one, until a step takes away what it needs; such a step comes one release later.
//!
//! Changes of tables are not part of transactions here. So each statement of a step may be run again, and what was cut off in
//! the middle is done from the start.

use super::{
    connection::{Connection, Settings},
    error::Fault,
    row::number,
    script::{Prefix, Script},
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
pub(super) const STEPS: &[Step] =
    &[Step { version: 1, oldest: 1, sql: include_str!("migrations/0001_tasks.sql") }];

const MIGRATIONS: &str = "CREATE TABLE IF NOT EXISTS {migrations} (
    version BIGINT NOT NULL PRIMARY KEY, oldest BIGINT NOT NULL, at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
) ENGINE = InnoDB";

const TAKEN: &str = "INSERT IGNORE INTO {migrations} (version, oldest) VALUES (?, ?)";

const THERE: &str = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?";

const STAND: &str = "SELECT COALESCE(MAX(version), 0), COALESCE(MAX(oldest), 0) FROM {migrations}";

/// Only one program at a time takes steps on these tables. The names of such locks are the server's, and short.
const LOCK: &str = "SELECT GET_LOCK(CONCAT('evertask.', MD5(CONCAT(DATABASE(), '.', ?))), 15)";
const UNLOCK: &str = "DO RELEASE_LOCK(CONCAT('evertask.', MD5(CONCAT(DATABASE(), '.', ?))))";

/// The last step that a program knows which knows these.
fn last(steps: &[Step]) -> i64 {
    steps.last().map_or(0, |step| step.version)
}

/// The statements of those steps that come behind this one.
fn statements(prefix: &Prefix, steps: &[Step], version: i64) -> Script {
    let mut script = Script::new(prefix);
    script.add(MIGRATIONS, &[]);
    for step in steps.iter().filter(|step| step.version > version) {
        for statement in step.sql.split(";\n") {
            let lines = statement.lines().filter(|line| !line.trim_start().starts_with("--"));
            let statement = lines.collect::<Vec<_>>().join("\n");
            if !statement.trim().is_empty() {
                script.add(statement.trim(), &[]);
            }
        }
        script.add(TAKEN, &[&step.version, &step.oldest]);
    }
    script
}

/// These steps as one script, for people whose database administrator runs it. It may be run again.
pub(super) fn script(prefix: &str, steps: &[Step]) -> String {
    let script = statements(&Prefix::new(prefix), steps, 0);
    let texts = script.statements.iter().map(|text| String::from_utf8_lossy(text));
    texts.map(|text| format!("{text};\n")).collect::<Vec<_>>().join("\n")
}

/// Brings the tables up to date, or only looks whether they are; refuses what this program cannot use.
pub(super) async fn run(
    conn: &mut Connection,
    settings: &Settings,
    steps: &[Step],
    migrate: bool,
) -> Result<(), Fault> {
    let known = last(steps);
    let prefix = &settings.prefix.text;
    let (version, oldest) = stand(conn, settings).await?;
    if oldest > known {
        let message = format!(
            "the tables `{prefix}…` of {} were made by a newer evertask (they are at step {version} and need a program that \
             knows step {oldest}; this one knows {}); update this program",
            settings.place, known
        );
        return Err(StorageError::new(StorageErrorKind::TooNew, message).into());
    }
    // Most times there is nothing to do, and then nobody has to wait for the lock.
    if version >= known {
        return Ok(());
    }
    if migrate {
        return take(conn, settings, steps).await;
    }
    let message = format!(
        "the tables `{prefix}…` of {} are at step {version}, and this program needs step {}: run the SQL that \
         `MySql::migrations_sql({prefix:?})` gives, or let evertask do it with `auto_migrate(true)`",
        settings.place, known
    );
    Err(StorageError::new(StorageErrorKind::Other, message).into())
}

async fn take(conn: &mut Connection, settings: &Settings, steps: &[Step]) -> Result<(), Fault> {
    let prefix = &settings.prefix;
    let mut lock = Script::new(prefix);
    let locked = lock.add(LOCK, &[&prefix.text]);
    if number::<i64>(conn.run(lock).await?.row(locked)?, 0)? != 1 {
        let message = "another program is changing its tables, and has been for a while; try again";
        return Err(StorageError::new(StorageErrorKind::Unavailable, message).into());
    }
    // Another one may have done it meanwhile. After an error the lock is given back with the transaction.
    let (version, _) = stand(conn, settings).await?;
    let mut script = statements(prefix, steps, version);
    script.add(UNLOCK, &[&prefix.text]);
    conn.run(script).await.map(drop)
}

/// The last step taken, and the one a program must know; zeros where there are none of our tables.
async fn stand(conn: &mut Connection, settings: &Settings) -> Result<(i64, i64), Fault> {
    let prefix = &settings.prefix;
    let mut look = Script::new(prefix);
    let there = look.add(THERE, &[&format!("{}migrations", prefix.text)]);
    if number::<i64>(conn.run(look).await?.row(there)?, 0)? == 0 {
        return Ok((0, 0));
    }
    let mut script = Script::new(prefix);
    let stand = script.add(STAND, &[]);
    let answers = conn.run(script).await?;
    let row = answers.row(stand)?;
    Ok((number(row, 0)?, number(row, 1)?))
}
