//! What earlier releases stored: today's program brings their tables up to date, reads all of it, and runs what waits.
//!
//! The files in `tests/fixtures` are never changed, only added to; how is said there.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use evertask::{
    AttemptEnd, Dispatched, Page, Retention, Runtime, State, TaskFilter, TaskInfo, TaskState,
    schedule::every_day,
    storage::{MySql, Postgres, Sqlite},
};
use mysql_async::{Conn, Opts, prelude::Queryable};

/// Whether it is the earlier release that runs, or the one that reads what it stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Release {
    Earlier,
    Ours,
}

#[evertask::handler(name = "kept", retries = 1, backoff = "fixed(10ms)")]
async fn kept(what: String, release: State<Release>) -> Result<String, String> {
    match (&*what, *release) {
        (_, Release::Ours) => Ok(format!("{what}, by ours")),
        ("fails" | "retries", Release::Earlier) => Err(format!("it {what} on purpose, as told")),
        ("hangs", Release::Earlier) => std::future::pending().await,
        (_, Release::Earlier) => Ok(what),
    }
}

#[evertask::handler(name = "kept_daily")]
async fn kept_daily() {}

fn builder(release: Release) -> evertask::Builder {
    let builder = Runtime::builder().discover(false).state(release).lease(Duration::from_secs(1));
    builder.handler::<kept>().handler::<kept_daily>().retention(Retention::forever())
}

/// Half a century later.
fn far() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(80 * 365 * 24 * 60 * 60)
}

async fn found(runtime: &Runtime, key: &str) -> TaskInfo {
    let mut filter = TaskFilter::default();
    filter.key_prefix = Some(key.to_owned());
    let found = runtime.tasks(filter, Page::default()).await.unwrap();
    assert_eq!(found.len(), 1, "{key}: {found:?}");
    runtime.task(found[0].id).await.unwrap().unwrap()
}

/// Not a test by itself: the earlier release, which stores something of everything and dies. Does nothing unless told where.
#[tokio::test(flavor = "multi_thread")]
async fn writer() {
    let Ok(url) = std::env::var("EVERTASK_WRITE_FIXTURE") else { return };
    let node = builder(Release::Earlier).url(url).concurrency(8).start().await.unwrap();
    let is = async |key: &str, state| {
        crate::until(async || found(&node, key).await.state == state).await;
    };
    for what in ["completes", "fails", "hangs"] {
        let task = kept::dispatch(what).key(what).tag("customer", "7").priority(3);
        task.on(&node).await.unwrap();
    }
    is("completes", TaskState::Completed).await;
    is("fails", TaskState::Failed).await;
    is("hangs", TaskState::Running).await;
    // A day is far enough for it to be pending when this ends, and past when it is read.
    kept::dispatch("waits").key("waits").after(Duration::from_secs(1)).on(&node).await.unwrap();
    kept::dispatch("never yet").key("never yet").at(far()).on(&node).await.unwrap();
    let gone = kept::dispatch("cancelled").key("cancelled").at(far()).on(&node).await.unwrap();
    gone.cancel().await.unwrap();
    let daily = every_day().at("03:00").tz("Europe/Rome");
    kept_daily::dispatch().every(daily).key("daily").on(&node).await.unwrap();
    std::process::abort();
}

/// All that `writer` has stored is there, and goes on; with its schedule, if there were any by then.
async fn is_read_and_run(builder: evertask::Builder, scheduled: bool) {
    let node = builder.start().await.unwrap();
    let completed = found(&node, "completes").await;
    assert_eq!((completed.state, completed.attempt), (TaskState::Completed, 1));
    assert_eq!(completed.output.as_ref().unwrap().read::<String>().unwrap(), "completes");
    assert_eq!(completed.tags.get("customer").map(String::as_str), Some("7"));
    assert_eq!((completed.priority, completed.lease), (3, 1));

    let failed = found(&node, "fails").await;
    assert_eq!((failed.state, failed.attempt, failed.attempts.len()), (TaskState::Failed, 2, 2));
    assert!(failed.attempts.iter().all(|it| it.end == AttemptEnd::Failed), "{failed:?}");
    assert_eq!(failed.error.as_deref(), Some("it fails on purpose, as told"));
    let mut alike = TaskFilter::default();
    alike.fingerprint = failed.attempts[0].fingerprint;
    assert_eq!(node.tasks(alike, Page::default()).await.unwrap().len(), 1);

    assert_eq!(found(&node, "cancelled").await.state, TaskState::Cancelled);
    let later = found(&node, "never yet").await;
    assert_eq!((later.state, later.due), (TaskState::Pending, far()));
    let replaced = kept::dispatch("never again").key("never yet").at(far()).on(&node);
    let replaced = replaced.await.unwrap();
    assert_eq!((replaced.id(), replaced.dispatched()), (later.id, Dispatched::Replaced));

    for key in ["waits", "hangs"] {
        crate::until(async || found(&node, key).await.state == TaskState::Completed).await;
        let ran = found(&node, key).await;
        assert_eq!(ran.output.unwrap().read::<String>().unwrap(), format!("{key}, by ours"));
    }
    let rescued = found(&node, "hangs").await;
    assert_eq!((rescued.attempts[0].end, rescued.attempts[0].lease), (AttemptEnd::Lost, 2));

    node.retry(failed.id).await.unwrap();
    crate::until(async || found(&node, "fails").await.state == TaskState::Completed).await;
    assert!(found(&node, "fails").await.lease > failed.lease);

    if scheduled {
        let daily = node.schedules().get("kept_daily", "daily").await.unwrap().unwrap();
        let rule = every_day().at("03:00").tz("Europe/Rome").unwrap();
        assert_eq!(daily.schedule, Some(rule), "{daily:?}");
        let tick = node.schedules().run_now("kept_daily", "daily").await.unwrap();
        crate::until(async || {
            node.task(tick).await.unwrap().unwrap().state == TaskState::Completed
        })
        .await;
    }
    node.shutdown().await.unwrap();
}

/// What stands in a file of this name, with the name of the place it goes to.
fn fixture(name: &str, place: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    std::fs::read_to_string(path).unwrap().replace("FIXTURE", place)
}

async fn on_sqlite(name: &str, scheduled: bool) {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("tasks.db");
    let conn = rusqlite::Connection::open(&file).unwrap();
    conn.execute_batch(&fixture(name, "")).unwrap();
    drop(conn);
    let sqlite = Sqlite::options().durable(false).open(file).await.unwrap();
    Box::pin(is_read_and_run(builder(Release::Ours).storage(sqlite), scheduled)).await;
}

async fn on_postgres(name: &str, scheduled: bool) {
    let Some(server) = evertask_servers::postgres() else { return };
    let schema = evertask_servers::schema();
    let (client, connection) =
        tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(&fixture(name, &schema)).await.unwrap();
    let options = Postgres::options().schema(&schema).durable(false);
    let postgres = options.connect(server.url()).await.unwrap();
    Box::pin(is_read_and_run(builder(Release::Ours).storage(postgres), scheduled)).await;
}

async fn on_mariadb(name: &str, scheduled: bool) {
    let Some(server) = evertask_servers::mariadb() else { return };
    let prefix = format!("{}_", evertask_servers::schema());
    let mut conn = Conn::new(Opts::from_url(&server.url()).unwrap()).await.unwrap();
    for statement in fixture(name, &prefix).split(";\n").filter(|it| !it.trim().is_empty()) {
        conn.query_drop(statement).await.unwrap();
    }
    let options = MySql::options().prefix(&prefix).durable(false);
    let mysql = options.look_every(Duration::from_millis(50)).connect(server.url()).await.unwrap();
    Box::pin(is_read_and_run(builder(Release::Ours).storage(mysql), scheduled)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stood_in_sqlite_at_step_1_is_read_and_run() {
    on_sqlite("sqlite-step-1.sql", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stood_in_sqlite_at_step_2_is_read_and_run() {
    on_sqlite("sqlite-step-2.sql", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stood_in_postgres_at_step_1_is_read_and_run() {
    on_postgres("postgres-step-1.sql", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stood_in_postgres_at_step_3_is_read_and_run() {
    on_postgres("postgres-step-3.sql", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stood_in_mariadb_at_step_1_is_read_and_run() {
    on_mariadb("mariadb-step-1.sql", true).await;
}
