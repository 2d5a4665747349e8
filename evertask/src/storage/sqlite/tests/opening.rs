//! Opening: what is set, what is refused, and how the tables come to be.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use rusqlite::Connection;

use super::{Place, number, task};
use crate::storage::{
    Inspect, Sqlite, Storage, StorageErrorKind,
    sqlite::{
        connection::{self, Settings},
        migrations,
    },
};

/// Everything in a directory.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let bytes = fs::read(entry.path()).unwrap_or_default();
            (entry.file_name().into_string().unwrap(), bytes)
        })
        .collect()
}

/// Opening this path fails so, in these words, and changes nothing on disk.
#[track_caller]
fn refused(place: &Place, path: &Path, kind: StorageErrorKind, words: &str) {
    let before = files(place.0.path());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(Sqlite::open(path)).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(files(place.0.path()), before, "something was changed on disk");
}

#[tokio::test]
async fn what_was_set_is_in_force_on_the_writer() {
    let place = Place::new();
    let sqlite = Sqlite::open(place.file()).await.unwrap();
    assert_eq!(number(&sqlite, "SELECT journal_mode = 'wal' FROM pragma_journal_mode").await, 1);
    assert_eq!(number(&sqlite, "PRAGMA synchronous").await, 2, "FULL");
    assert_eq!(number(&sqlite, "PRAGMA fullfsync").await, 1);
    assert_eq!(number(&sqlite, "PRAGMA checkpoint_fullfsync").await, 1);
    let place = Place::new();
    let lax = place.open().await;
    assert_eq!(number(&lax, "PRAGMA synchronous").await, 1, "NORMAL");
}

#[test]
fn a_setting_that_sqlite_does_not_take_is_an_error() {
    let memory = Connection::open_in_memory().unwrap();
    let error = connection::set(&memory, Path::new("x.db"), "synchronous", 7).unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Unsafe);
    assert!(error.to_string().contains("`synchronous`"), "{error}");
}

#[test]
fn a_database_in_memory_is_refused_and_told_of_memory() {
    let place = Place::new();
    refused(&place, Path::new(":memory:"), StorageErrorKind::Unsafe, "storage::Memory");
}

#[test]
fn what_is_no_database_is_refused() {
    let place = Place::new();
    let long = "This is a text, and a long one. ".repeat(400);
    for text in ["x", "a short text\n", &long] {
        fs::write(place.file(), text).unwrap();
        refused(&place, &place.file(), StorageErrorKind::NotADatabase, "not an SQLite database");
    }
    let noise: Vec<u8> =
        (0..20_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(place.file(), noise).unwrap();
    refused(&place, &place.file(), StorageErrorKind::NotADatabase, "not an SQLite database");
}

#[test]
fn a_directory_and_a_path_to_nowhere_are_refused() {
    let place = Place::new();
    refused(&place, place.0.path(), StorageErrorKind::NotADatabase, "is a directory");
    let nowhere = place.0.path().join("not/there/tasks.db");
    refused(&place, &nowhere, StorageErrorKind::Other, "there is no directory");
}

#[cfg(unix)]
#[test]
fn what_is_marked_as_read_only_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let mark =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let place = Place::new();
    fs::write(place.file(), "").unwrap();
    mark(&place.file(), 0o444);
    refused(&place, &place.file(), StorageErrorKind::ReadOnly, "read-only");
    let directory = place.0.path().join("closed");
    fs::create_dir(&directory).unwrap();
    mark(&directory, 0o555);
    refused(
        &place,
        &directory.join("tasks.db"),
        StorageErrorKind::ReadOnly,
        "needs its log beside it",
    );
    mark(&directory, 0o755);
}

#[test]
fn a_network_file_system_is_refused_unless_it_is_allowed() {
    let place = Place::new();
    let share = place.0.path().canonicalize().unwrap();
    let mounts = format!(
        "1 0 0:1 / / rw - ext4 /dev/sda rw\n2 1 0:2 / {} rw - nfs4 nas:/tmp rw\n",
        share.display()
    );
    let check = |path: &Path, allow_network| {
        let busy_timeout = Duration::ZERO;
        let path = path.to_path_buf();
        let steps = migrations::STEPS;
        let settings = Settings { path, durable: true, busy_timeout, allow_network, steps };
        connection::check_place(&settings, &mounts)
    };
    for there_or_to_be_made in [false, true] {
        let error = check(&place.file(), false).unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Unsafe);
        assert!(error.to_string().contains("`nfs4`"), "{error}");
        check(&place.file(), true).unwrap();
        if !there_or_to_be_made {
            fs::write(place.file(), "").unwrap();
        }
    }
    // Relative to where the program runs, which is somewhere else.
    check(Path::new("tasks.db"), false).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_refused() {
    let place = Place::new();
    place.open().await.close().await;
    let mut bytes = fs::read(place.file()).unwrap();
    // The table of tables, behind the header of the file.
    bytes[100..4096].fill(0xAB);
    fs::write(place.file(), bytes).unwrap();
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                refused(
                    &place,
                    &place.file(),
                    StorageErrorKind::Corrupt,
                    "restore it from a backup",
                );
            });
        });
    });
}

/// A database whose tables a later release has brought to this step.
fn from_the_future(place: &Place, version: i64, oldest: i64) {
    let conn = Connection::open(place.file()).unwrap();
    let sql = "INSERT INTO evertask_migrations (version, oldest, at) VALUES (?1, ?2, 0)";
    conn.execute(sql, [version, oldest]).unwrap();
}

#[test]
fn a_newer_database_is_refused_only_if_it_needs_a_newer_program() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let place = Place::new();
    runtime.block_on(async { place.open().await.close().await });
    from_the_future(&place, 98, 1);
    runtime.block_on(async {
        let sqlite = place.open().await;
        sqlite.enqueue(vec![task("a")]).await.unwrap();
        sqlite.close().await;
    });
    from_the_future(&place, 99, 99);
    refused(&place, &place.file(), StorageErrorKind::TooNew, "update this program");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_may_open_a_new_file_at_once() {
    for _ in 0..60 {
        let place = Place::new();
        let opening: Vec<_> = (0..8)
            .map(|_| {
                let file = place.file();
                tokio::spawn(async move { Sqlite::options().durable(false).open(file).await })
            })
            .collect();
        for opened in opening {
            let sqlite = opened.await.unwrap().unwrap();
            sqlite.enqueue(vec![task("a")]).await.unwrap();
        }
        let sqlite = place.open().await;
        assert_eq!(number(&sqlite, "SELECT count(*) FROM evertask_tasks").await, 8);
        let steps = number(&sqlite, "SELECT count(*) FROM evertask_migrations").await;
        assert_eq!(steps, migrations::last(migrations::STEPS), "each step is taken once");
    }
}

#[tokio::test]
async fn it_lives_beside_the_tables_of_others() {
    let place = Place::new();
    let theirs = Connection::open(place.file()).unwrap();
    theirs
        .execute_batch("CREATE TABLE orders (id INTEGER); INSERT INTO orders VALUES (1)")
        .unwrap();
    let sqlite = place.open().await;
    sqlite.enqueue(vec![task("a")]).await.unwrap();
    let orders: i64 =
        theirs.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap();
    assert_eq!(orders, 1);
}

#[tokio::test]
async fn closing_writes_what_was_asked_for_and_refuses_the_rest() {
    let place = Place::new();
    let sqlite = place.open().await;
    assert_eq!(sqlite.counts().await.unwrap(), []);
    let (stored, ()) = tokio::join!(biased; sqlite.enqueue(vec![task("a")]), sqlite.close());
    stored.unwrap();
    let error = sqlite.enqueue(vec![task("a")]).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Closed);
    let error = sqlite.counts().await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Closed);
    let left: Vec<String> = files(place.0.path()).into_keys().collect();
    assert_eq!(left, ["tasks.db"], "the log was not copied and removed");
    let again = place.open().await;
    assert_eq!(number(&again, "SELECT count(*) FROM evertask_tasks").await, 1);
}
