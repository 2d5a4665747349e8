//! Connections: where a database may lie, how it is opened, and that SQLite really does what it was told.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, config::DbConfig, types::FromSql};

use super::{
    error::{is_busy, storage_error},
    filesystem,
    migrations::{self, Step},
    patience,
};
use crate::storage::{StorageError, StorageErrorKind};

const OPENING: &str = "cannot open the storage";

/// How a database is to be opened.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) path: PathBuf,
    pub(super) durable: bool,
    pub(super) busy_timeout: Duration,
    pub(super) allow_network: bool,
    pub(super) steps: &'static [Step],
}

/// Opens the database for writing, makes it if there is none, and brings its tables up to date. It stays on the thread that opens it.
///
/// What is refused is refused before anything is changed on disk.
pub(super) fn open_writer(settings: &Settings, now: i64) -> Result<Connection, StorageError> {
    let path = &settings.path;
    check_place(settings, &filesystem::mounts())?;
    let mut conn = connect(settings, OpenFlags::SQLITE_OPEN_CREATE)?;
    let told = told(path);
    // SQLite opens a file it may not write for reading, and says nothing.
    if conn.is_readonly("main").map_err(told)? {
        let message =
            format!("{OPENING}: `{}` cannot be written; check its rights", path.display());
        return Err(StorageError::new(StorageErrorKind::ReadOnly, message));
    }
    migrations::check(&conn, path, settings.steps)?;
    let mode = into_wal(&conn, settings.busy_timeout).map_err(told)?;
    expect(path, "journal_mode", &mode, &"wal".to_owned())?;
    // Pages. While the writer is idle it does this by itself; this is for when it never is.
    set(&conn, path, "wal_autocheckpoint", 4_000_i64)?;
    set(&conn, path, "journal_size_limit", 64_i64 << 20)?;
    // KiB.
    set(&conn, path, "cache_size", -16_384_i64)?;
    durable(&conn, settings)?;
    migrations::run(&mut conn, settings.steps, now).map_err(told)?;
    patience::wait_up_to(&conn, settings.busy_timeout).map_err(told)?;
    Ok(conn)
}

/// Opens the database that a writer has opened before, for reading.
pub(super) fn open_reader(settings: &Settings) -> Result<Connection, StorageError> {
    let conn = connect(settings, OpenFlags::empty())?;
    set(&conn, &settings.path, "query_only", 1_i64)?;
    // It may be the last to be closed, and on a thread that must not wait for the disk.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(told(&settings.path))?;
    Ok(conn)
}

fn connect(settings: &Settings, more: OpenFlags) -> Result<Connection, StorageError> {
    let path = &settings.path;
    // Without URIs: a path is a path, whatever it looks like.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let conn = Connection::open_with_flags(path, flags).map_err(told(path))?;
    conn.busy_timeout(settings.busy_timeout).map_err(told(path))?;
    conn.set_prepared_statement_cache_capacity(64);
    // Otherwise SQLite plans a prepared statement anew whenever the value of a parameter might call for another plan.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(told(path))?;
    Ok(conn)
}

/// Promise 1: what was committed survives a loss of power.
fn durable(conn: &Connection, settings: &Settings) -> Result<(), StorageError> {
    let path = &settings.path;
    // 2 = FULL: the log is synced at every commit. 1 = NORMAL: only before it is copied into the database.
    set(conn, path, "synchronous", if settings.durable { 2_i64 } else { 1 })?;
    // macOS's fsync does not reach the platter; elsewhere this changes nothing.
    set(conn, path, "fullfsync", i64::from(settings.durable))?;
    set(conn, path, "checkpoint_fullfsync", i64::from(settings.durable))
}

/// Sets a pragma and reads it back: SQLite passes over what it does not know or cannot do in silence.
pub(super) fn set(
    conn: &Connection,
    path: &Path,
    name: &str,
    value: i64,
) -> Result<(), StorageError> {
    // Some pragmas answer when they are set, some do not.
    conn.pragma(None, name, value, |_| Ok(())).map_err(told(path))?;
    expect(path, name, &read::<i64>(conn, path, name)?, &value)
}

fn read<T: FromSql>(conn: &Connection, path: &Path, name: &str) -> Result<T, StorageError> {
    conn.pragma_query_value(None, name, |row| row.get(0)).map_err(told(path))
}

fn expect<T>(path: &Path, name: &str, is: &T, wanted: &T) -> Result<(), StorageError>
where
    T: PartialEq + std::fmt::Debug,
{
    if is == wanted {
        return Ok(());
    }
    let message = format!(
        "{OPENING}: SQLite keeps `{name}` at {is:?} on `{}` and not at {wanted:?}, without which tasks could be lost",
        path.display()
    );
    Err(StorageError::new(StorageErrorKind::Unsafe, message))
}

/// Turns the log on. Where two do that at once, SQLite tells one of them at once that it is busy, so the patience is ours.
fn into_wal(conn: &Connection, patience: Duration) -> rusqlite::Result<String> {
    let start = Instant::now();
    loop {
        match conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)) {
            Err(error) if is_busy(&error) && start.elapsed() < patience => {
                thread::sleep(Duration::from_millis(5));
            }
            done => return done,
        }
    }
}

/// Refuses places where no database of ours can be.
///
/// Looks at names and rights only. The file itself is never opened but by SQLite: closing it would drop the locks which other
/// connections of this process have on it.
pub(super) fn check_place(settings: &Settings, mountinfo: &str) -> Result<(), StorageError> {
    let path = &settings.path;
    let file = path.display();
    let refuse = |kind, why: String| Err(StorageError::new(kind, format!("{OPENING}: {why}")));
    if path.as_os_str() == ":memory:" || path.as_os_str().is_empty() {
        return refuse(
            StorageErrorKind::Unsafe,
            "a database in memory cannot be shared between connections; use `storage::Memory` or the path of a file"
                .to_owned(),
        );
    }
    let directory = match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    let Ok(parent) = directory.metadata() else {
        let why = format!("there is no directory `{}` for `{file}`; make it", directory.display());
        return refuse(StorageErrorKind::Other, why);
    };
    if parent.permissions().readonly() {
        let directory = directory.display();
        let why = format!(
            "the directory `{directory}` cannot be written, but `{file}` needs its log beside it"
        );
        return refuse(StorageErrorKind::ReadOnly, why);
    }
    if let Ok(it) = path.metadata() {
        if it.is_dir() {
            let why = format!("`{file}` is a directory; give the path of a file in it");
            return refuse(StorageErrorKind::NotADatabase, why);
        }
        if !it.is_file() {
            return refuse(StorageErrorKind::NotADatabase, format!("`{file}` is not a plain file"));
        }
        // The smallest page has 512 bytes. SQLite would take a file of one byte for an empty one, and overwrite it.
        if (1..512).contains(&it.len()) {
            let why = format!("`{file}` is not an SQLite database; choose another path");
            return refuse(StorageErrorKind::NotADatabase, why);
        }
        if it.permissions().readonly() {
            let why = format!("`{file}` is marked as read-only; make it writable");
            return refuse(StorageErrorKind::ReadOnly, why);
        }
    }
    if settings.allow_network {
        return Ok(());
    }
    match filesystem::network(mountinfo, directory, path) {
        Ok(None) => Ok(()),
        Ok(Some(kind)) => refuse(
            StorageErrorKind::Unsafe,
            format!(
                "`{file}` lies on a network file system (`{kind}`), where SQLite's locks do not hold; put it on a local disk, \
                 use PostgreSQL, or call `allow_network_filesystem(true)` if you know that they do"
            ),
        ),
        Err(error) => refuse(StorageErrorKind::Other, format!("`{file}`: {error}")),
    }
}

fn told(path: &Path) -> impl Fn(rusqlite::Error) -> StorageError + Copy {
    |error| storage_error(path, OPENING, &Arc::new(error))
}
