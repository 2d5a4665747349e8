//! Tasks that are stored in a transaction of the caller on MariaDB.

use std::time::Duration;

use evertask::{Context, DispatchError, Dispatched, Runtime, TaskId, TaskState, storage::MySql};
use evertask_servers::Mariadb;
use mysql_async::{Conn, Opts, TxOpts, prelude::Queryable};
use sqlx::{Connection, MySqlConnection, mysql::MySqlConnectOptions};

#[evertask::handler(retries = 0)]
async fn triple(n: u64) -> u64 {
    3 * n
}

#[evertask::handler(retries = 0)]
async fn linger(n: u64, ctx: Context) {
    let _the_same = n;
    ctx.cancelled().await;
}

async fn mariadb(server: &Mariadb) -> (Runtime, String) {
    let prefix = evertask_servers::schema();
    let storage = MySql::options().prefix(&prefix).durable(false);
    let storage = storage.connect(server.url()).await.unwrap();
    let builder = Runtime::builder().storage(storage).discover(false);
    let builder = builder.handler::<triple>().handler::<linger>();
    (builder.start().await.unwrap(), prefix)
}

async fn client(url: &str) -> Conn {
    Conn::new(Opts::from_url(url).unwrap()).await.unwrap()
}

async fn sqlx(server: &Mariadb) -> MySqlConnection {
    let options = MySqlConnectOptions::new().socket(server.socket());
    let options = options.username("root").database("evertask");
    MySqlConnection::connect_with(&options).await.unwrap()
}

async fn state(runtime: &Runtime, id: TaskId) -> Option<TaskState> {
    runtime.task(id).await.unwrap().map(|task| task.state)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_sqlx_a_commit_makes_the_task_exist_and_a_rollback_leaves_none() {
    let Some(server) = evertask_servers::mariadb() else { return };
    let (runtime, _) = mariadb(server).await;
    let mut conn = sqlx(server).await;

    let mut tx = conn.begin().await.unwrap();
    let never = triple::dispatch(1).on(&runtime).within(&mut tx).await.unwrap();
    tx.rollback().await.unwrap();

    let mut tx = conn.begin().await.unwrap();
    let task = triple::dispatch(14).key("k").tag("to", "be");
    let task = task.on(&runtime).within(&mut tx).await.unwrap();
    assert_eq!(task.dispatched(), Dispatched::Created);
    assert_eq!(state(&runtime, task.id()).await, None, "nobody sees it before the commit");
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
async fn with_mysql_async_many_are_stored_together_or_not_at_all() {
    let Some(server) = evertask_servers::mariadb() else { return };
    let (runtime, _) = mariadb(server).await;
    // A session that is in another database stores them where they belong.
    let mut conn = client(&server.url_of("information_schema")).await;
    let all = || evertask::dispatch_all((0..500).map(triple::new)).on(&runtime);

    let mut tx = conn.start_transaction(TxOpts::default()).await.unwrap();
    let never = all().within(&mut tx).await.unwrap();
    tx.rollback().await.unwrap();

    let mut tx = conn.start_transaction(TxOpts::default()).await.unwrap();
    let tasks = all().within(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    for (n, task) in (0..).zip(&tasks) {
        assert_eq!(task.output().await.unwrap(), 3 * n);
    }
    assert_eq!(never.len(), 500);
    assert_eq!(state(&runtime, never[499].id()).await, None);
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_hold_in_transactions_and_nobody_else_waits_for_them() {
    let Some(server) = evertask_servers::mariadb() else { return };
    let (runtime, _) = mariadb(server).await;
    let mut conn = client(&server.url()).await;
    let keyed = |n: u64, key: &str| {
        linger::dispatch(n).after(Duration::from_secs(600)).key(key).on(&runtime)
    };

    let first = keyed(1, "b").await.unwrap();
    let mut tx = conn.start_transaction(TxOpts::default()).await.unwrap();
    let second = keyed(2, "b").within(&mut tx).await.unwrap();
    assert_eq!((second.id(), second.dispatched()), (first.id(), Dispatched::Replaced));
    tx.rollback().await.unwrap();
    let payload = first.info().await.unwrap().unwrap().payload;
    assert_eq!(payload.read::<linger>().unwrap().n, 1, "the replacement never was");

    let waiting = keyed(1, "w").await.unwrap();
    runtime.retry(first.id()).await.unwrap();
    crate::until(async || state(&runtime, first.id()).await == Some(TaskState::Running)).await;
    let mut tx = conn.start_transaction(TxOpts::default()).await.unwrap();
    let third = keyed(3, "b").within(&mut tx).await.unwrap();
    assert_eq!((third.id(), third.dispatched()), (first.id(), Dispatched::Existing));
    let free = keyed(4, "m").within(&mut tx).await.unwrap();
    assert_eq!(free.dispatched(), Dispatched::Created);
    let waits = keyed(5, "w").within(&mut tx).await.unwrap();
    assert_eq!((waits.id(), waits.dispatched()), (waiting.id(), Dispatched::Replaced));
    let again = keyed(5, "m").within(&mut tx).await.unwrap();
    assert_eq!((again.id(), again.dispatched()), (free.id(), Dispatched::Replaced));
    // While the transaction goes on, the running task can be settled, and keys beside its own can be taken.
    first.cancel().await.unwrap();
    crate::until(async || state(&runtime, first.id()).await == Some(TaskState::Cancelled)).await;
    for key in ["a", "c", "l", "n", "z"] {
        let beside = keyed(6, key).tag("to", "be").await;
        let beside = beside.unwrap_or_else(|error| panic!("`{key}` is not free: {error}"));
        assert_eq!(beside.dispatched(), Dispatched::Created, "{key}");
    }
    tx.commit().await.unwrap();
    let payload = free.info().await.unwrap().unwrap().payload;
    assert_eq!(payload.read::<linger>().unwrap().n, 5);
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loser_of_a_race_for_a_key_waits_and_gets_the_winners_id() {
    let Some(server) = evertask_servers::mariadb() else { return };
    let (runtime, prefix) = mariadb(server).await;
    let (mut one, mut two) = (sqlx(server).await, sqlx(server).await);
    let keyed = |n| linger::dispatch(n).after(Duration::from_secs(600)).key("one").on(&runtime);

    let mut winner = one.begin().await.unwrap();
    let won = keyed(1).within(&mut winner).await.unwrap();
    let mut loser = two.begin().await.unwrap();
    let (lost, ()) = tokio::join!(keyed(2).within(&mut loser).into_future(), async {
        // Once it waits, the other one commits.
        let table = format!(".`{prefix}tasks` trx id ");
        let mut watcher = client(&server.url()).await;
        crate::until(async || {
            let status = "SHOW ENGINE INNODB STATUS";
            let status: Option<(String, String, String)> =
                watcher.query_first(status).await.unwrap();
            let status = status.unwrap().2;
            status.lines().any(|line| line.contains(&table) && line.ends_with(" waiting"))
        })
        .await;
        winner.commit().await.unwrap();
    });
    let lost = lost.expect("it is told no error, and its transaction goes on");
    assert_eq!((lost.id(), lost.dispatched()), (won.id(), Dispatched::Replaced));
    loser.commit().await.unwrap();
    let payload = won.info().await.unwrap().unwrap().payload;
    assert_eq!(payload.read::<linger>().unwrap().n, 2);
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_leaves_the_transaction_usable() {
    let Some(server) = evertask_servers::mariadb() else { return };
    let (runtime, prefix) = mariadb(server).await;
    let mut conn = client(&server.url()).await;
    let mut tx = conn.start_transaction(TxOpts::default()).await.unwrap();
    let before = triple::dispatch(1).on(&runtime).within(&mut tx).await.unwrap();
    let bad = triple::dispatch(1).key("a\tb").on(&runtime).within(&mut tx).await;
    assert!(matches!(bad, Err(DispatchError::BadText(_))), "{bad:?}");
    // In the middle of a batch, by the server, which cannot write the tags.
    let mut other = client(&server.url()).await;
    other.query_drop(format!("RENAME TABLE {prefix}tags TO {prefix}away")).await.unwrap();
    let two = |n| triple::dispatch(n).tag("to", "be").key("k").on(&runtime);
    let failed = two(2).within(&mut tx).await.unwrap_err();
    assert!(failed.to_string().contains("tables are missing"), "{failed}");
    other.query_drop(format!("RENAME TABLE {prefix}away TO {prefix}tags")).await.unwrap();
    let task = two(3).within(&mut tx).await.unwrap();
    assert_eq!(task.dispatched(), Dispatched::Created, "nothing is left of what failed");
    tx.commit().await.unwrap();
    assert_eq!(before.output().await.unwrap(), 3);
    assert_eq!(task.output().await.unwrap(), 9);
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_on_another_server_is_refused_in_words_and_not_broken_by_it() {
    let Some(server) = evertask_servers::mariadb() else { return };
    let Some(elsewhere) = evertask_servers::own_mariadb() else { return };
    let (runtime, _) = mariadb(server).await;
    let mut conn = client(&elsewhere.url()).await;
    let mut tx = conn.start_transaction(TxOpts::default()).await.unwrap();
    let refused = triple::dispatch(1).on(&runtime).within(&mut tx).await.unwrap_err();
    assert!(matches!(refused, DispatchError::AnotherDatabase { .. }), "{refused:?}");
    let told = refused.to_string();
    assert!(told.contains("on the server") && told.contains("database `evertask`"), "{told}");
    tx.query_drop("SELECT 1").await.expect("it is as good as before");
    tx.rollback().await.unwrap();
    drop(conn);

    let memory = Runtime::builder().storage(evertask::storage::Memory::new()).discover(false);
    let memory = memory.handler::<triple>().client().await.unwrap();
    let mut conn = sqlx(server).await;
    let mut tx = conn.begin().await.unwrap();
    let refused = triple::dispatch(1).on(&memory).within(&mut tx).await.unwrap_err();
    assert!(refused.to_string().contains("is one of MySQL"), "{refused}");
    runtime.shutdown().await.unwrap();
}

/// Futures that hold a transaction can be spawned where the transaction can.
#[test]
fn a_dispatch_within_can_be_sent_to_another_thread() {
    fn sendable(_: impl Future + Send) {}
    async fn with_sqlx(mut tx: sqlx::Transaction<'_, sqlx::MySql>) {
        let _task = triple::dispatch(1).within(&mut tx).await;
    }
    async fn with_mysql_async(mut tx: mysql_async::Transaction<'_>) {
        let _task = triple::dispatch(1).within(&mut tx).await;
    }
    let _with_sqlx = |tx: sqlx::Transaction<'static, sqlx::MySql>| sendable(with_sqlx(tx));
    let _other = |tx: mysql_async::Transaction<'static>| sendable(with_mysql_async(tx));
}
