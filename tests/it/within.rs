//! Tasks that are stored in a transaction of the caller.

use std::{path::Path, time::Duration};

use evertask::{
    Context, DispatchError, Dispatched, Runtime, TaskId, TaskState,
    storage::{Memory, Postgres, Sqlite},
};
use evertask_servers::Cluster;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio_postgres::NoTls;

#[evertask::handler(retries = 0)]
async fn double(n: u64) -> u64 {
    2 * n
}

#[evertask::handler(retries = 0)]
async fn stay(n: u64, ctx: Context) {
    let _the_same = n;
    ctx.cancelled().await;
}

async fn postgres(server: &Cluster) -> (Runtime, String) {
    let schema = evertask_servers::schema();
    let options = Postgres::options().schema(&schema).durable(false);
    let storage = options.connect(server.url()).await.unwrap();
    (builder().storage(storage).start().await.unwrap(), schema)
}

fn builder() -> evertask::Builder {
    Runtime::builder().discover(false).handler::<double>().handler::<stay>()
}

pub(crate) async fn sqlx(server: &Cluster) -> PgConnection {
    PgConnection::connect_with(&options(&server.socket())).await.unwrap()
}

/// How `sqlx` reaches what listens on this socket.
pub(crate) fn options(socket: &Path) -> PgConnectOptions {
    let port = socket.extension().unwrap().to_str().unwrap().parse().unwrap();
    let options = PgConnectOptions::new_without_pgpass().socket(socket.parent().unwrap());
    options.port(port).username("postgres").database("postgres")
}

async fn client(server: &Cluster) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn state(runtime: &Runtime, id: TaskId) -> Option<TaskState> {
    runtime.task(id).await.unwrap().map(|task| task.state)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_sqlx_a_commit_makes_the_task_exist_and_a_rollback_leaves_none() {
    let Some(server) = evertask_servers::postgres() else { return };
    let (runtime, _) = postgres(server).await;
    let mut conn = sqlx(server).await;

    let mut tx = conn.begin().await.unwrap();
    let never = double::dispatch(1).on(&runtime).within(&mut tx).await.unwrap();
    tx.rollback().await.unwrap();

    let mut tx = conn.begin().await.unwrap();
    let task = double::dispatch(21).tag("to", "be").on(&runtime).within(&mut tx).await.unwrap();
    assert_eq!(task.dispatched(), Dispatched::Created);
    assert_eq!(state(&runtime, task.id()).await, None, "nobody sees it before the commit");
    // Waiting may begin before there is anything to wait for.
    let output = tokio::spawn({
        let task = task.clone();
        async move { task.output().await }
    });
    tx.commit().await.unwrap();
    assert_eq!(output.await.unwrap().unwrap(), 42);
    assert_eq!(task.info().await.unwrap().unwrap().tags["to"], "be");
    assert_eq!(state(&runtime, never.id()).await, None);
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_wakes_the_node_at_once() {
    let Some(server) = evertask_servers::postgres() else { return };
    let (runtime, _) = postgres(server).await;
    let mut conn = sqlx(server).await;
    // Nobody looks: only the notification can wake it. Its slow look comes after minutes.
    for n in 0..5 {
        let mut tx = conn.begin().await.unwrap();
        let task = double::dispatch(n).on(&runtime).within(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        let soon = tokio::time::timeout(Duration::from_secs(20), task.output()).await;
        assert_eq!(soon.expect("within seconds").unwrap(), 2 * n);
    }
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tokio_postgres_many_are_stored_together_or_not_at_all() {
    let Some(server) = evertask_servers::postgres() else { return };
    let (runtime, _) = postgres(server).await;
    let mut client = client(server).await;

    let mut tx = client.transaction().await.unwrap();
    let all = evertask::dispatch_all((0..500).map(double::new)).on(&runtime);
    let never = all.within(&mut tx).await.unwrap();
    tx.rollback().await.unwrap();

    let mut tx = client.transaction().await.unwrap();
    let all = evertask::dispatch_all((0..500).map(double::new)).on(&runtime);
    let tasks = all.within(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    for (n, task) in (0..).zip(&tasks) {
        assert_eq!(task.output().await.unwrap(), 2 * n);
    }
    assert_eq!(never.len(), 500);
    assert_eq!(state(&runtime, never[499].id()).await, None);
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_hold_in_transactions_too() {
    let Some(server) = evertask_servers::postgres() else { return };
    let (runtime, _) = postgres(server).await;
    let mut conn = sqlx(server).await;
    let keyed =
        |n: u64, key: &str| stay::dispatch(n).after(Duration::from_secs(600)).key(key).on(&runtime);

    let first = keyed(1, "a").await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    let second = keyed(2, "a").within(&mut tx).await.unwrap();
    assert_eq!((second.id(), second.dispatched()), (first.id(), Dispatched::Replaced));
    tx.rollback().await.unwrap();
    let payload = first.info().await.unwrap().unwrap().payload;
    assert_eq!(payload.read::<stay>().unwrap().n, 1, "the replacement never was");

    runtime.retry(first.id()).await.unwrap();
    crate::until(async || state(&runtime, first.id()).await == Some(TaskState::Running)).await;
    let mut tx = conn.begin().await.unwrap();
    let third = keyed(3, "a").within(&mut tx).await.unwrap();
    assert_eq!((third.id(), third.dispatched()), (first.id(), Dispatched::Existing));
    // While the transaction goes on, the running task can be settled: the dispatch has not locked it.
    first.cancel().await.unwrap();
    crate::until(async || state(&runtime, first.id()).await == Some(TaskState::Cancelled)).await;
    tx.commit().await.unwrap();
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loser_of_a_race_for_a_key_waits_and_gets_the_winners_id() {
    let Some(server) = evertask_servers::postgres() else { return };
    let (runtime, _) = postgres(server).await;
    let (mut one, mut two) = (sqlx(server).await, sqlx(server).await);
    let keyed = |n| stay::dispatch(n).after(Duration::from_secs(600)).key("one").on(&runtime);

    let mut winner = one.begin().await.unwrap();
    let won = keyed(1).within(&mut winner).await.unwrap();
    let mut loser = two.begin().await.unwrap();
    let (lost, ()) = tokio::join!(keyed(2).within(&mut loser).into_future(), async {
        // Once it waits, the other one commits.
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%evertask_store%'";
        let watcher = client(server).await;
        crate::until(async || watcher.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) > 0)
            .await;
        winner.commit().await.unwrap();
    });
    let lost = lost.expect("it is told no error, and its transaction goes on");
    assert_eq!((lost.id(), lost.dispatched()), (won.id(), Dispatched::Replaced));
    loser.commit().await.unwrap();
    let payload = won.info().await.unwrap().unwrap().payload;
    assert_eq!(payload.read::<stay>().unwrap().n, 2);
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_leaves_the_transaction_usable() {
    let Some(server) = evertask_servers::postgres() else { return };
    let (runtime, _) = postgres(server).await;
    let mut conn = sqlx(server).await;
    let mut tx = conn.begin().await.unwrap();
    let bad = double::dispatch(1).key("a\tb").on(&runtime).within(&mut tx).await;
    assert!(matches!(bad, Err(DispatchError::BadText(_))), "{bad:?}");
    let one: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&mut *tx).await.unwrap();
    let task = double::dispatch(1).on(&runtime).within(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((one, task.output().await.unwrap()), (1, 2));
    let now = double::dispatch(1).on(&runtime).within(&mut conn).now();
    assert!(matches!(now, Err(DispatchError::NotBlocking)), "{now:?}");
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_another_database_is_refused_in_words_and_not_broken_by_it() {
    let Some(server) = evertask_servers::postgres() else { return };
    let (runtime, schema) = postgres(server).await;
    let admin = client(server).await;
    admin.batch_execute(&format!("CREATE DATABASE {schema}")).await.unwrap();
    let url = server.url().replace("/postgres?", &format!("/{schema}?"));
    let (mut other, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);

    let mut tx = other.transaction().await.unwrap();
    let refused = double::dispatch(1).on(&runtime).within(&mut tx).await.unwrap_err();
    let told = refused.to_string();
    assert!(matches!(refused, DispatchError::AnotherDatabase { .. }), "{refused:?}");
    assert!(told.contains(&format!("in the database `{schema}`")), "{told}");
    assert!(told.contains("database `postgres`") && told.contains("`.on(&runtime)`"), "{told}");
    tx.query("SELECT 1", &[]).await.expect("it is as good as before");
    tx.rollback().await.unwrap();
    drop(other);
    runtime.shutdown().await.unwrap();

    let memory = builder().storage(Memory::new()).client().await.unwrap();
    let mut tx = sqlx(server).await;
    let refused = double::dispatch(1).on(&memory).within(&mut tx).await.unwrap_err();
    assert!(refused.to_string().contains("is one of PostgreSQL"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_a_commit_makes_the_task_exist_and_a_rollback_leaves_none() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("app.db");
    let runtime = builder().storage(Sqlite::open(&file).await.unwrap()).start().await.unwrap();
    // Named in another way, it is the same file.
    let mut conn = rusqlite::Connection::open(place.path().join("./app.db")).unwrap();
    conn.execute_batch("CREATE TABLE users (name TEXT)").unwrap();

    let tx = |conn: &mut rusqlite::Connection, commit: bool| {
        let mut tx = conn.transaction().unwrap();
        tx.execute("INSERT INTO users VALUES ('Ada')", []).unwrap();
        let task = double::dispatch(21).key("k").on(&runtime).within(&mut tx).now().unwrap();
        let all = evertask::dispatch_all((0..50).map(double::new)).on(&runtime);
        let all = all.within(&mut tx).now().unwrap();
        if commit { tx.commit() } else { tx.rollback() }.unwrap();
        (task, all)
    };
    let (never, none) = tx(&mut conn, false);
    let (task, all) = tx(&mut conn, true);
    assert_eq!(task.output().await.unwrap(), 42);
    for (n, task) in (0..).zip(all) {
        assert_eq!(task.output().await.unwrap(), 2 * n);
    }
    assert_eq!(state(&runtime, never.id()).await, None);
    assert_eq!(state(&runtime, none[0].id()).await, None);
    let users: u32 = conn.query_row("SELECT count(*) FROM users", [], |row| row.get(0)).unwrap();
    assert_eq!(users, 1);

    let mut other = rusqlite::Connection::open(place.path().join("other.db")).unwrap();
    let mut tx = other.transaction().unwrap();
    let refused = double::dispatch(1).on(&runtime).within(&mut tx).now().unwrap_err();
    assert!(refused.to_string().contains("other.db"), "{refused}");
    drop(tx);
    let mut memory = rusqlite::Connection::open_in_memory().unwrap();
    let mut tx = memory.transaction().unwrap();
    let refused = double::dispatch(1).on(&runtime).within(&mut tx).now().unwrap_err();
    assert!(refused.to_string().contains("has no file"), "{refused}");
    drop(tx);
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_that_shares_sessions_a_transaction_is_as_good() {
    let Some(proxy) = evertask_servers::pgbouncer() else { return };
    let schema = evertask_servers::schema();
    let storage = Postgres::options().schema(&schema).durable(false).pooled_proxy(true);
    let storage = storage.connect(proxy.url()).await.unwrap();
    let runtime = builder().storage(storage).start().await.unwrap();
    let options = options(&proxy.socket()).statement_cache_capacity(0).extra_float_digits(None);
    // More transactions than the proxy has sessions, each of which keeps its own while the others go on.
    let in_turns = tokio::sync::Barrier::new(4);
    let dispatch = async |n: u64| {
        for round in 0..5 {
            // Each names what it prepares as the ones before did.
            let mut conn = PgConnection::connect_with(&options).await.unwrap();
            let mut tx = conn.begin().await.unwrap();
            in_turns.wait().await;
            let n = 10 * n + round;
            let task = double::dispatch(n).key(n.to_string()).on(&runtime).within(&mut tx);
            let task = task.await.unwrap();
            in_turns.wait().await;
            if n.is_multiple_of(2) {
                tx.commit().await.unwrap();
                assert_eq!(task.output().await.unwrap(), 2 * n);
            } else {
                tx.rollback().await.unwrap();
                assert_eq!(state(&runtime, task.id()).await, None);
            }
        }
    };
    tokio::join!(dispatch(0), dispatch(1), dispatch(2), dispatch(3));
    let (mut other, connection) = tokio_postgres::connect(&proxy.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let mut tx = other.transaction().await.unwrap();
    let all = evertask::dispatch_all((0..50).map(double::new)).on(&runtime);
    let all = all.within(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    for (n, task) in (0..).zip(all) {
        assert_eq!(task.output().await.unwrap(), 2 * n);
    }
    runtime.shutdown().await.unwrap();
}

/// Futures that hold a transaction can be spawned where the transaction can.
#[test]
fn a_dispatch_within_can_be_sent_to_another_thread() {
    fn sendable(_: impl Future + Send) {}
    async fn with_sqlx(mut tx: sqlx::Transaction<'_, sqlx::Postgres>) {
        let _task = double::dispatch(1).within(&mut tx).await;
    }
    async fn with_tokio_postgres(mut tx: tokio_postgres::Transaction<'_>) {
        let _task = double::dispatch(1).within(&mut tx).await;
    }
    let _with_sqlx = |tx: sqlx::Transaction<'static, sqlx::Postgres>| sendable(with_sqlx(tx));
    let _other = |tx: tokio_postgres::Transaction<'static>| sendable(with_tokio_postgres(tx));
}
