//! Handlers that write in one transaction with the end of their task.

use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use evertask::{
    Context, EventKind, Runtime, TaskId, TaskState, Tx,
    storage::{Memory, Postgres, PostgresOptions},
};
use evertask_servers::Cluster;
use sqlx::Connection as _;
use tokio_postgres::{Client, NoTls};

/// Writes a row, and then does as it is told.
#[evertask::handler(retries = 1, backoff = "fixed(1ms)")]
async fn write(
    table: String,
    then: String,
    ctx: Context,
    #[extract] mut tx: Tx<Postgres>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let insert = sqlx::AssertSqlSafe(format!("INSERT INTO {table} VALUES ($1, $2)"));
    let (id, attempt) = (ctx.id().to_string(), i64::from(ctx.attempt()));
    // Behind a proxy a statement that stays prepared would be there for the next transaction's owner.
    let insert = sqlx::query(insert).persistent(false);
    insert.bind(id).bind(attempt).execute(tx.get().await?).await?;
    let again = |then: &str| {
        let row =
            format!("INSERT INTO {table} VALUES ('{}', {}) -- {then}", ctx.id(), ctx.attempt());
        sqlx::raw_sql(sqlx::AssertSqlSafe(row))
    };
    match (then.as_str(), ctx.attempt()) {
        ("nest and commit" | "nest and roll back" | "nest and drop", attempt) => {
            let mut inner = tx.get().await?.begin().await?;
            again("inside").execute(&mut *inner).await?;
            match then.as_str() {
                "nest and commit" => inner.commit().await?,
                "nest and roll back" => inner.rollback().await?,
                _ => drop(inner),
            }
            if attempt == 1 {
                return Err("as it was told".into());
            }
        }
        ("commit once", 1) => {
            sqlx::raw_sql("COMMIT").execute(tx.get().await?).await?;
        }
        ("commit and go on once", 1) => {
            sqlx::raw_sql("COMMIT; BEGIN").execute(tx.get().await?).await?;
            again("in another one").execute(tx.get().await?).await?;
        }
        ("roll back once", 1) => {
            sqlx::raw_sql("ROLLBACK").execute(tx.get().await?).await?;
        }
        ("go on after all failed once", 1) => {
            sqlx::raw_sql("SELECT 1 / 0").execute(tx.get().await?).await.unwrap_err();
            drop(tx.get().await?.begin().await.unwrap_err());
            again("outside").execute(tx.get().await?).await?;
        }
        ("fail once", 1) => return Err("as it was told".into()),
        ("panic once", 1) => panic!("as it was told"),
        ("time out once", 1) => {
            // In the middle of a statement.
            sqlx::query("SELECT pg_sleep(600)").execute(tx.get().await?).await?;
        }
        ("break once", 1) => {
            let end = "SELECT pg_terminate_backend(pg_backend_pid())";
            sqlx::query(end).execute(tx.get().await?).await.unwrap_err();
        }
        ("poison once", 1) => {
            sqlx::query("SELECT 1 / 0").execute(tx.get().await?).await.unwrap_err();
        }
        ("keep it once", 1) => KEPT.lock().unwrap().push(tx),
        ("wait", _) => std::future::pending().await,
        ("wait for the cancel", _) => {
            WAITING.fetch_add(1, Ordering::SeqCst);
            // It is asked for, but this goes on to its end.
            ctx.cancelled().await;
        }
        ("lock", _) => {
            let lock = sqlx::query("SELECT pg_advisory_xact_lock(hashtext($1))");
            lock.bind(ctx.id().to_string()).execute(tx.get().await?).await?;
            if STOPS.load(Ordering::SeqCst) {
                // What it holds the others want.
                let this = rustix::process::getpid();
                rustix::process::kill_process(this, rustix::process::Signal::STOP)?;
            }
        }
        ("dispatch", _) => {
            let next = write::dispatch(table, "nothing").on(&ctx.runtime());
            ctx.dispatch_on_success(next)?;
        }
        ("be mortal", _) if UNTIL_DEATH.fetch_sub(1, Ordering::SeqCst) == 1 => {
            // It has written, and nothing of it is committed.
            rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            )?;
        }
        _ => {}
    }
    Ok(())
}

/// How many rows this process may still write before it kills itself.
static UNTIL_DEATH: AtomicU32 = AtomicU32::new(u32::MAX);
/// This process stops where a handler holds a lock.
static STOPS: AtomicBool = AtomicBool::new(false);
static KEPT: Mutex<Vec<Tx<Postgres>>> = Mutex::new(Vec::new());
static WAITING: AtomicU32 = AtomicU32::new(0);

#[evertask::handler]
async fn never_writes(#[extract] tx: Tx<Postgres>) -> u32 {
    drop(tx);
    7
}

struct Site {
    runtime: Runtime,
    client: Client,
    table: String,
}

fn builder() -> evertask::Builder {
    Runtime::builder().discover(false).handler::<write>().handler::<never_writes>()
}

async fn client(server: &Cluster) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Site {
    async fn start(server: &Cluster) -> Self {
        Self::start_with(server, |options| options).await
    }

    async fn start_with(
        server: &Cluster,
        set: impl FnOnce(PostgresOptions) -> PostgresOptions,
    ) -> Self {
        let schema = evertask_servers::schema();
        let options = set(Postgres::options().schema(&schema).durable(false));
        let storage = options.connect(server.url()).await.unwrap();
        let (client, table) = (client(server).await, format!("{schema}_rows"));
        client
            .batch_execute(&format!("CREATE TABLE {table} (task text, attempt bigint)"))
            .await
            .unwrap();
        let builder = builder().handler::<count_open>().storage(storage).concurrency(20);
        Self { runtime: builder.start().await.unwrap(), client, table }
    }

    fn write(&self, then: &str) -> evertask::Dispatch<write> {
        write::dispatch(&*self.table, then).on(&self.runtime)
    }

    /// In which attempts the rows of a task were written.
    async fn rows(&self, id: TaskId) -> Vec<i64> {
        let sql = format!("SELECT attempt FROM {} WHERE task = $1", self.table);
        let rows = self.client.query(&sql, &[&id.to_string()]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn state(&self, id: TaskId) -> Option<TaskState> {
        self.runtime.task(id).await.unwrap().map(|task| task.state)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_handler_writes_is_committed_with_its_completion() {
    let Some(server) = evertask_servers::postgres() else { return };
    let site = Site::start(server).await;
    let mut events = site.runtime.events();
    let task = site.write("nothing").await.unwrap();
    task.output().await.unwrap();
    assert_eq!(site.rows(task.id()).await, [1]);
    let mut told = Vec::new();
    while told.last() != Some(&EventKind::Completed) {
        told.push(events.next().await.unwrap().kind);
    }
    let info = task.info().await.unwrap().unwrap();
    assert_eq!((info.state, info.attempt, info.attempts.len()), (TaskState::Completed, 1, 0));
    assert_eq!(
        never_writes::dispatch().on(&site.runtime).await.unwrap().output().await.unwrap(),
        7
    );
    assert!(site.runtime.health().await.running == 0);
    site.runtime.shutdown().await.unwrap();
}

/// How far the server promises that its transaction will last.
#[evertask::handler]
async fn lasting(
    #[extract] mut tx: Tx<Postgres>,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let ask = sqlx::query_scalar("SHOW synchronous_commit").persistent(false);
    Ok(ask.fetch_one(tx.get().await?).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_that_shares_sessions_it_is_committed_too_and_as_durably() {
    let Some(server) = evertask_servers::own_postgres() else { return };
    let Some(proxy) = evertask_servers::pgbouncer_of(&server) else { return };
    let client = client(&server).await;
    let careless = "ALTER ROLE postgres SET synchronous_commit = off; CREATE TABLE rows (task text, attempt bigint)";
    client.batch_execute(careless).await.unwrap();
    let storage = Postgres::options().pooled_proxy(true).connect(proxy.url()).await.unwrap();
    let runtime = builder().handler::<lasting>().storage(storage).start().await.unwrap();
    // One after the other and at the same time, on whatever session the proxy has for them.
    let tasks =
        (0..20).map(|n| write::new("rows", if n % 2 == 0 { "nothing" } else { "fail once" }));
    for task in evertask::dispatch_all(tasks).on(&runtime).await.unwrap() {
        task.output().await.unwrap();
        let lasting = lasting::dispatch().on(&runtime).await.unwrap();
        assert_eq!(lasting.output().await.unwrap(), "on");
    }
    let count = "SELECT count(*), count(DISTINCT task) FROM rows";
    let row = client.query_one(count, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (20, 20));
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_attempt_that_does_not_complete_nothing_remains() {
    let Some(server) = evertask_servers::postgres() else { return };
    let site = Site::start(server).await;
    for then in ["fail once", "panic once", "break once", "poison once", "keep it once"] {
        let task = site.write(then).await.unwrap();
        task.output().await.unwrap();
        assert_eq!(site.rows(task.id()).await, [2], "{then}");
    }
    let cut_off = site.write("time out once").timeout(Duration::from_millis(300)).await.unwrap();
    cut_off.output().await.unwrap();
    assert_eq!(site.rows(cut_off.id()).await, [2]);
    site.runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_handler_begins_inside_of_it_is_a_part_of_it() {
    let Some(server) = evertask_servers::postgres() else { return };
    let site = Site::start(server).await;
    // Twice, so that sessions are used again.
    for _ in 0..2 {
        for (then, rows) in [
            ("nest and commit", &[2, 2][..]),
            ("nest and roll back", &[2]),
            ("nest and drop", &[2]),
        ] {
            let task = site.write(then).await.unwrap();
            task.output().await.unwrap();
            assert_eq!(site.rows(task.id()).await, rows, "{then}");
        }
    }
    site.runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_ends_it_does_not_complete_its_task_and_is_told_so() {
    let Some(server) = evertask_servers::postgres() else { return };
    let site = Site::start(server).await;
    for (then, rows) in [
        ("commit once", &[1, 2][..]),
        ("commit and go on once", &[1, 2]),
        ("roll back once", &[2]),
        ("go on after all failed once", &[1, 2]),
    ] {
        let task = site.write(then).await.unwrap();
        task.output().await.unwrap();
        assert_eq!(site.rows(task.id()).await, rows, "{then}");
        let first = task.info().await.unwrap().unwrap().attempts.remove(0).error.unwrap();
        assert!(first.contains("the handler has ended it"), "{then}: {first}");
    }
    site.runtime.shutdown().await.unwrap();
}

/// How many transactions of `count_open` are open, and the most there were.
static OPEN: [AtomicI64; 2] = [AtomicI64::new(0), AtomicI64::new(0)];

#[evertask::handler(retries = 0)]
async fn count_open(
    #[extract] mut tx: Tx<Postgres>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let conn = tx.get().await?;
    let open = OPEN[0].fetch_add(1, Ordering::SeqCst) + 1;
    OPEN[1].fetch_max(open, Ordering::SeqCst);
    // Long enough for all others to come meanwhile.
    sqlx::query("SELECT pg_sleep(0.05)").execute(conn).await?;
    OPEN[0].fetch_sub(1, Ordering::SeqCst);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_are_open_than_there_may_be_and_the_others_wait() {
    let Some(server) = evertask_servers::postgres() else { return };
    let site = Site::start_with(server, |options| options.transactions(3)).await;
    let tasks = evertask::dispatch_all((0..30).map(|_| count_open::new())).on(&site.runtime);
    for task in tasks.await.unwrap() {
        task.output().await.unwrap();
    }
    assert_eq!(OPEN[1].load(Ordering::SeqCst), 3);
    site.runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_one_can_be_cancelled() {
    let Some(server) = evertask_servers::postgres() else { return };
    let site = Site::start_with(server, |options| options.transactions(1)).await;
    let holds = site.write("wait").await.unwrap();
    crate::until(async || site.rows_locked().await).await;
    let waits = site.write("nothing").await.unwrap();
    for task in [waits, holds] {
        crate::until(async || site.state(task.id()).await == Some(TaskState::Running)).await;
        task.cancel().await.unwrap();
        crate::until(async || site.state(task.id()).await == Some(TaskState::Cancelled)).await;
    }
    let next = site.write("nothing").await.unwrap();
    next.output().await.unwrap();
    assert_eq!(site.rows(next.id()).await, [1]);
    site.runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_no_connection_left_is_asked_again_and_no_attempt_is_spent() {
    let Some(server) = evertask_servers::own_postgres() else { return };
    let client = client(&server).await;
    let prepare = "CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app;
        CREATE TABLE rows (task text, attempt bigint); GRANT ALL ON rows TO app";
    client.batch_execute(prepare).await.unwrap();
    let url = server.url().replace("postgres@", "app@");
    let storage = Postgres::connect(url).await.unwrap();
    let runtime = builder().storage(storage).start().await.unwrap();
    // All that it needs besides.
    never_writes::dispatch().on(&runtime).await.unwrap().output().await.unwrap();
    client.batch_execute("ALTER ROLE app CONNECTION LIMIT 1").await.unwrap();
    let task = write::dispatch("rows", "nothing").on(&runtime).await.unwrap();
    crate::until(async || server.log().contains("too many connections for role \"app\"")).await;
    client.batch_execute("ALTER ROLE app CONNECTION LIMIT -1").await.unwrap();
    task.output().await.unwrap();
    assert_eq!(task.info().await.unwrap().unwrap().attempts.len(), 0);
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_begun_where_it_may_write() {
    let Some(server) = evertask_servers::postgres() else { return };
    let Some(standby) = evertask_servers::own_postgres() else { return };
    let only_read = "ALTER SYSTEM SET default_transaction_read_only = on";
    client(&standby).await.batch_execute(only_read).await.unwrap();
    client(&standby).await.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let reads = async || {
        let row = client(&standby).await.query_one("SHOW transaction_read_only", &[]).await;
        row.unwrap().get::<_, &str>(0) == "on"
    };
    crate::until(reads).await;
    let site = Site::start(server).await;
    let schema = site.table.strip_suffix("_rows").unwrap();
    let place = |server: &Cluster| server.socket().parent().unwrap().display().to_string();
    let url = format!(
        "host={},{} user=postgres dbname=postgres target_session_attrs=read-write",
        place(&standby),
        place(server)
    );
    site.runtime.shutdown().await.unwrap();
    let storage = Postgres::options().schema(schema).durable(false).connect(url).await.unwrap();
    let runtime = builder().storage(storage).start().await.unwrap();
    let task = write::dispatch(&*site.table, "nothing").on(&runtime).await.unwrap();
    task.output().await.unwrap();
    assert_eq!(site.rows(task.id()).await, [1]);
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_task_leaves_nothing_even_if_its_handler_returns() {
    let Some(server) = evertask_servers::postgres() else { return };
    let site = Site::start(server).await;
    let waits = site.write("wait").await.unwrap();
    crate::until(async || site.state(waits.id()).await == Some(TaskState::Running)).await;
    waits.cancel().await.unwrap();
    crate::until(async || site.state(waits.id()).await == Some(TaskState::Cancelled)).await;
    assert!(site.rows(waits.id()).await.is_empty());

    let returns = site.write("wait for the cancel").await.unwrap();
    crate::until(async || WAITING.load(Ordering::SeqCst) > 0).await;
    returns.cancel().await.unwrap();
    crate::until(async || site.state(returns.id()).await == Some(TaskState::Cancelled)).await;
    assert!(site.rows(returns.id()).await.is_empty());
    let left = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND query LIKE $1";
    let of_us = format!("%{}%", site.table);
    crate::until(async || {
        site.client.query_one(left, &[&of_us]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    site.runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_lost_the_lease_commits_nothing() {
    let Some(server) = evertask_servers::postgres() else { return };
    let site = Site::start(server).await;
    WAITING.store(0, Ordering::SeqCst);
    let task = site.write("wait for the cancel").await.unwrap();
    crate::until(async || site.state(task.id()).await == Some(TaskState::Running)).await;
    // As if another node had taken it over.
    let schema = site.table.strip_suffix("_rows").unwrap();
    let seize = format!("UPDATE {schema}.tasks SET lease = lease + 1, node = gen_random_uuid()");
    crate::until(async || site.rows_locked().await).await;
    site.client.batch_execute(&seize).await.unwrap();
    let mut events = site.runtime.events();
    site.runtime.cancel(task.id()).await.unwrap();
    while events.next().await.unwrap().kind != EventKind::LeaseLost {}
    assert!(site.rows(task.id()).await.is_empty());
    site.runtime.shutdown().await.unwrap();
}

impl Site {
    /// A handler has written and not committed.
    async fn rows_locked(&self) -> bool {
        let sql = "SELECT count(*) FROM pg_locks WHERE relation = $1::text::regclass AND mode = 'RowExclusiveLock'";
        self.client.query_one(sql, &[&self.table]).await.unwrap().get::<_, i64>(0) > 0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dispatched_on_success_is_committed_too() {
    let Some(server) = evertask_servers::postgres() else { return };
    let site = Site::start(server).await;
    site.write("dispatch").await.unwrap().output().await.unwrap();
    let count = format!("SELECT count(*) FROM {}", site.table);
    crate::until(async || site.client.query_one(&count, &[]).await.unwrap().get::<_, i64>(0) == 2)
        .await;
    site.runtime.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_handler_with_a_transaction_is_refused_where_there_is_none() {
    let refused = builder().storage(Memory::new()).start().await.unwrap_err().to_string();
    assert!(refused.contains("`write`") || refused.contains("`never_writes`"), "{refused}");
    assert!(refused.contains("can complete no task of another storage"), "{refused}");
    builder().storage(Memory::new()).client().await.expect("who runs nothing needs none");
}

#[tokio::test]
async fn in_a_plain_call_the_test_says_what_becomes_of_the_transaction() {
    let Some(server) = evertask_servers::postgres() else { return };
    let client = client(server).await;
    let table = format!("{}_rows", evertask_servers::schema());
    client
        .batch_execute(&format!("CREATE TABLE {table} (task text, attempt bigint)"))
        .await
        .unwrap();
    let conn = crate::within::sqlx(server).await;
    let tx = Tx::from_connection(conn);
    write(table.clone(), "nothing".into(), Context::test(), tx).await.unwrap();
    let rows = client.query(&format!("SELECT * FROM {table}"), &[]).await.unwrap();
    assert_eq!(rows.len(), 1, "nobody began a transaction, so it is there");
}

const VICTIM: &str = "EVERTASK_TX_VICTIM";
const STOPPED: &str = "EVERTASK_TX_STOPPED";
const UNTIL: &str = "EVERTASK_TX_UNTIL_DEATH";

/// Not a test by itself: a process that stops where a handler holds a lock.
#[tokio::test(flavor = "multi_thread")]
async fn stopped() {
    let Ok(schema) = std::env::var(STOPPED) else { return };
    STOPS.store(true, Ordering::SeqCst);
    let server = evertask_servers::postgres().unwrap();
    let storage = Postgres::options().schema(schema).durable(false);
    let storage = storage.transaction_idle_limit(Duration::from_secs(1));
    let storage = storage.connect(server.url()).await.unwrap();
    let _node = builder().storage(storage).lease(Duration::from_secs(1)).start().await.unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stopped_process_has_locked_is_let_go_of_and_its_task_runs_elsewhere() {
    let Some(server) = evertask_servers::postgres() else { return };
    let site = Site::start(server).await;
    site.runtime.shutdown().await.unwrap();
    let schema = site.table.strip_suffix("_rows").unwrap().to_owned();
    let connect = async || {
        let storage = Postgres::options().schema(&schema).durable(false);
        storage.connect(server.url()).await.unwrap()
    };
    let client = builder().storage(connect().await).client().await.unwrap();
    let task = write::dispatch(&*site.table, "lock").on(&client).await.unwrap();
    let mut stopped = Command::new(std::env::current_exe().unwrap())
        .args(["tx::stopped", "--exact", "--test-threads=1"])
        .env(STOPPED, &schema)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    crate::until(async || site.rows_locked().await).await;
    let lease = Duration::from_secs(1);
    let node = builder().storage(connect().await).lease(lease).start().await.unwrap();
    let done = tokio::time::timeout(Duration::from_secs(60), task.output()).await;
    stopped.kill().unwrap();
    stopped.wait().unwrap();
    done.expect("the server ends what the stopped process has begun").unwrap();
    assert_eq!(site.rows(task.id()).await, [1]);
    assert_eq!(task.info().await.unwrap().unwrap().losses, 1);
    node.shutdown().await.unwrap();
}

/// Not a test by itself: a process that completes tasks until it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    let Ok(schema) = std::env::var(VICTIM) else { return };
    UNTIL_DEATH.store(std::env::var(UNTIL).unwrap().parse().unwrap(), Ordering::SeqCst);
    let server = evertask_servers::postgres().unwrap();
    let storage = Postgres::options().schema(schema).durable(false);
    let storage = storage.connect(server.url()).await.unwrap();
    let lease = Duration::from_secs(1);
    let _node = builder().storage(storage).lease(lease).concurrency(8).start().await.unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn however_often_processes_are_killed_each_task_has_written_exactly_once() {
    const TASKS: usize = 3_000;
    let Some(server) = evertask_servers::postgres() else { return };
    let site = Site::start(server).await;
    // This node only looks.
    let schema = site.table.strip_suffix("_rows").unwrap().to_owned();
    site.runtime.shutdown().await.unwrap();
    let storage = Postgres::options().schema(&schema).durable(false);
    let storage = storage.connect(server.url()).await.unwrap();
    let runtime = builder().storage(storage).client().await.unwrap();
    let tasks = (0..TASKS).map(|_| write::new(&*site.table, "be mortal"));
    evertask::dispatch_all(tasks).on(&runtime).await.unwrap();
    let rows = async |what: &str| -> i64 {
        let sql = format!("SELECT {what} FROM {}", site.table);
        site.client.query_one(&sql, &[]).await.unwrap().get(0)
    };
    let completed = async || -> i64 {
        let sql = format!("SELECT count(*) FROM {schema}.tasks WHERE state = 2");
        site.client.query_one(&sql, &[]).await.unwrap().get(0)
    };
    let (mut kills, mut in_the_middle) = (0, 0);
    while completed().await < TASKS as i64 {
        // Every other process kills itself where a handler has written and not committed; the rest are killed at no
        // particular place.
        let (before, quota) = (completed().await, fastrand::i64(1..300));
        let by_itself = kills % 2 == 0;
        let (until_death, goal) =
            if by_itself { (quota, i64::MAX) } else { (u32::MAX.into(), before + quota) };
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["tx::victim", "--exact", "--test-threads=1"])
            .env(VICTIM, &schema)
            .env(UNTIL, until_death.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        crate::until(async || {
            victim.try_wait().unwrap().is_some() || completed().await >= goal.min(TASKS as i64)
        })
        .await;
        let died = victim.try_wait().unwrap();
        victim.kill().unwrap();
        victim.wait().unwrap();
        kills += 1;
        in_the_middle += i32::from(died.is_some_and(|status| status.signal() == Some(9)));
    }
    eprintln!("{kills} kills, {in_the_middle} of them while a handler had written");
    assert!(kills >= 10 && in_the_middle >= 5, "{kills} kills, {in_the_middle} in the middle");
    crate::until(async || rows("count(*)").await >= TASKS as i64).await;
    assert_eq!(rows("count(*)").await, TASKS as i64);
    assert_eq!(rows("count(DISTINCT task)").await, TASKS as i64);
    runtime.shutdown().await.unwrap();
}
