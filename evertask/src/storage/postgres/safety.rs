//! Whether a server can keep our promises: asked before anything is stored in it.

use super::{
    connection::{Connection, Settings, Sql},
    error::{Fault, POOLED},
    row::get,
};
use crate::storage::{StorageError, StorageErrorKind, server::Purpose};

/// The oldest version that is supported: PostgreSQL 13.
const OLDEST: i32 = 130_000;

const LOOK: Sql = Sql {
    text: "SELECT current_setting('server_version_num')::int4, current_setting('server_encoding'),
            current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on',
            current_setting('synchronous_commit') <> 'off', pg_is_in_recovery(), current_setting('server_version')",
    types: &[],
};

/// One session among all there have been.
const WHICH: &str = "SELECT pg_backend_pid() || ' ' || pg_postmaster_start_time()";

/// Refuses a server on which tasks could be lost, or that lacks what we need.
pub(super) async fn check(conn: &Connection, settings: &Settings) -> Result<(), Fault> {
    if !settings.pooled_proxy && is_shared(conn, settings).await? {
        // What was set on sessions of others.
        conn.script("RESET ALL").await?;
        let why = format!("{} gives its sessions to others as well: {POOLED}", settings.place);
        return Err(StorageError::new(StorageErrorKind::Other, why).into());
    }
    let rows = conn.one((&LOOK, &[])).await?;
    let row = rows.first().ok_or(Fault::Damaged("the server does not say what it is"))?;
    let place = &settings.place;
    let refuse = |kind, why: String| Err(Fault::from(StorageError::new(kind, why)));
    let (version, named): (i32, &str) = (get(row, 0)?, get(row, 6)?);
    if version < OLDEST {
        let why = format!("{place} is PostgreSQL {named}; evertask needs 13 or newer");
        return refuse(StorageErrorKind::Other, why);
    }
    let encoding: &str = get(row, 1)?;
    if encoding != "UTF8" {
        let why = format!(
            "{place} is encoded as `{encoding}`, in which not every text can be stored; make a database with `ENCODING 'UTF8'`"
        );
        return refuse(StorageErrorKind::Other, why);
    }
    if get(row, 5)? {
        let why = format!("{place} is a standby, which only reads; connect to the primary server");
        return refuse(StorageErrorKind::ReadOnly, why);
    }
    if !settings.durable {
        return Ok(());
    }
    let (fsync, pages, commit): (bool, bool, bool) = (get(row, 2)?, get(row, 3)?, get(row, 4)?);
    if !fsync || !commit {
        let what = if fsync { "synchronous_commit" } else { "fsync" };
        let why = format!(
            "{place} has `{what}` turned off, so that a crash may take committed tasks with it: turn it on, or accept that with \
             `Postgres::options().durable(false)`"
        );
        return refuse(StorageErrorKind::Unsafe, why);
    }
    if !pages {
        tracing::warn!(
            "{place} has `full_page_writes` turned off: unless its file system writes whole pages, a crash may damage it"
        );
    }
    Ok(())
}

/// True if a session is another one from one transaction to the next, or that of two connections at the same time.
async fn is_shared(conn: &Connection, settings: &Settings) -> Result<bool, Fault> {
    let (first, second) = (which(conn).await?, which(conn).await?);
    if first != second {
        return Ok(true);
    }
    // Without a second connection it cannot be told, and is told by the first statement that is not found.
    let Ok(other) = Connection::open(settings, Purpose::Write).await else { return Ok(false) };
    Ok(which(&other).await? == second)
}

async fn which(conn: &Connection) -> Result<String, Fault> {
    let rows = conn.ask(WHICH, &[]).await?;
    rows.first()
        .map_or(Err(Fault::Damaged("the server does not say what it is")), |row| get(row, 0))
}
