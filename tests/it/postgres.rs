//! What many processes on one PostgreSQL add: waking each other, dying, losing the connection or the server.
//!
//! Where each promise is on trial on PostgreSQL; `chaos` is the binary of that name, `laws` are those of
//! `conformance::postgres`:
//!
//! | promise | tests |
//! |---|---|
//! | stored means stored | `a_server_that_crashes_…` here; `opening::a_server_that_does_not_sync_its_commits_…`, `commits_are_waited_for_…` inside the library; `chaos::database`, `chaos::disk` |
//! | at least once, never lost | `chaos::processes`, `chaos::database`, `chaos::disk` |
//! | fenced | laws `fence`; `chaos::processes`, which counts the refusals; `chaos::stopped::who_wakes_up_too_late_…`, task by task; `chaos::alone`, whose handlers stop before others begin |
//! | rescued in seconds, nobody alive robbed | `chaos::processes`, `chaos::database`, `chaos::blocked`, `chaos::alone`; `runtime::watch` inside the library |
//! | stopped means stopped | `a_cancel_from_elsewhere_…` here, `chaos::stopped::a_timeout_…`, laws `cancel` |
//! | interrupted is not failed | `a_shutdown_spends_no_attempt_…`, `a_killed_process_…` here, `chaos::poison`, laws `rescue` and `settle` |
//! | a tick fires once | laws `schedules`; `chaos::ticks` |
//! | idle is silent | `idle` beside this, `a_dispatch_wakes_…` here (no look would find it in time), `waking`, laws `waking`; `chaos::database::a_node_that_has_become_deaf_…` |
//! | a waiting task costs nothing | `plans` inside the library |
//! | wrong is told early, loops never die in silence | `chaos::database::a_silence_of_any_length_…`, `chaos::disk`, `opening` inside the library |
//! | rolling deploys | `a_node_works_on_while_a_newer_program_changes_the_tables` here, `stored`, `rolling` and `opening` inside the library, laws `claim` |
//! | everything is bounded | laws `bounds` and `batch`; memory in an outage in `chaos::pressure`, `chaos::database` and `chaos::disk` |

use std::{
    collections::HashMap,
    future::IntoFuture,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant},
};

use evertask::{
    AttemptEnd, Cancel, Context, Dispatched, EventKind, Runtime, TaskId, TaskState, Tx,
    storage::{Postgres, StorageErrorKind},
};
use evertask_servers::Cluster;
use tokio_postgres::{Client, NoTls};

/// How often each task was run in this process.
static RUNS: Mutex<Option<HashMap<TaskId, u32>>> = Mutex::new(None);

#[evertask::handler(retries = 0)]
async fn count(n: u64, ctx: Context) -> u64 {
    *RUNS.lock().unwrap().get_or_insert_default().entry(ctx.id()).or_default() += 1;
    n
}

#[evertask::handler]
async fn hold(ctx: Context) {
    ctx.cancelled().await;
}

#[evertask::handler]
async fn stay() {
    std::future::pending::<()>().await;
}

fn runs(id: TaskId) -> u32 {
    RUNS.lock().unwrap().get_or_insert_default().get(&id).copied().unwrap_or(0)
}

async fn connect(server: &Cluster, schema: &str) -> Postgres {
    let options = Postgres::options().schema(schema).durable(false);
    options.connect(server.url()).await.unwrap()
}

fn builder(storage: Postgres) -> evertask::Builder {
    let builder = Runtime::builder().storage(storage).discover(false);
    builder.handler::<count>().handler::<hold>().handler::<stay>().handler::<slow_to_end>()
}

async fn node(server: &Cluster, schema: &str) -> Runtime {
    builder(connect(server, schema).await).start().await.unwrap()
}

async fn state(runtime: &Runtime, id: TaskId) -> Option<TaskState> {
    runtime.task(id).await.ok().flatten().map(|task| task.state)
}

/// A client of the test's own, beside the storage.
async fn sql(server: &Cluster) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatch_wakes_another_process_and_its_end_wakes_back_within_milliseconds() {
    let Some(server) = evertask_servers::postgres() else { return };
    let schema = evertask_servers::schema();
    let node = node(server, &schema).await;
    // A storage of its own shares nothing with the other one but the server.
    let client = builder(connect(server, &schema).await).client().await.unwrap();
    let mut fastest = Duration::MAX;
    for n in 0..20 {
        let start = Instant::now();
        let task = count::dispatch(n).on(&client).await.unwrap();
        assert_eq!(task.output().await.unwrap(), n);
        fastest = fastest.min(start.elapsed());
    }
    // There and back again. Without notifications it would be found by the slow look, minutes later.
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_share_the_work_and_never_a_task() {
    let Some(server) = evertask_servers::postgres() else { return };
    let schema = evertask_servers::schema();
    let nodes = [node(server, &schema).await, node(server, &schema).await];
    let tasks = (0..2_000).map(count::new);
    let tasks = evertask::dispatch_all(tasks).on(&nodes[0]).await.unwrap();
    for task in &tasks {
        task.output().await.unwrap();
    }
    assert!(tasks.iter().all(|task| runs(task.id()) == 1), "each ran once");
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_processes_that_dispatch_one_key_one_creates_the_task_and_all_get_its_id() {
    const KEYS: u64 = 50;
    let Some(server) = evertask_servers::postgres() else { return };
    let schema = evertask_servers::schema();
    let mut dispatching = Vec::new();
    for turn in 0..4 {
        let client = builder(connect(server, &schema).await).client().await.unwrap();
        dispatching.push(tokio::spawn(async move {
            // In opposite orders, so that each waits for keys that the other has.
            let keys = (0..KEYS).map(|n| if turn % 2 == 0 { n } else { KEYS - 1 - n });
            let keyed = keys.map(|n| count::dispatch(n).key(n.to_string()).on(&client));
            let handles: Vec<_> =
                keyed.map(|dispatch| tokio::spawn(dispatch.into_future())).collect();
            let mut told = Vec::new();
            for handle in handles {
                let task = handle.await.unwrap().expect("no loser of the race sees an error");
                let info = task.info().await.unwrap().expect("the id it got is stored");
                told.push((info.key.unwrap(), task.id(), task.dispatched()));
            }
            told
        }));
    }
    let mut ids: HashMap<String, TaskId> = HashMap::new();
    let mut created = 0;
    for dispatched in dispatching {
        for (key, id, how) in dispatched.await.unwrap() {
            assert_eq!(*ids.entry(key).or_insert(id), id, "one key, one task");
            created += u64::from(how == Dispatched::Created);
        }
    }
    assert_eq!(created, KEYS);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_lose_nothing_and_stop_no_loop() {
    let Some(server) = evertask_servers::postgres() else { return };
    let schema = evertask_servers::schema();
    let killer = sql(server).await;
    let cut = async || {
        // Those of this test only.
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE application_name = $1 AND pid <> pg_backend_pid()";
        killer.query(cut, &[&schema]).await.unwrap().len()
    };
    let options = Postgres::options().schema(&schema).durable(false);
    let url = format!("{}&application_name={schema}", server.url());
    let node = builder(options.connect(url).await.unwrap()).start().await.unwrap();
    let done = AtomicBool::new(false);
    let load = async {
        let mut tasks = Vec::new();
        for n in 0..400 {
            tasks.push(count::dispatch(n).on(&node).await.expect("it is repeated until it works"));
        }
        done.store(true, Ordering::SeqCst);
        tasks
    };
    let cuts = async {
        let mut cuts = 0;
        while !done.load(Ordering::SeqCst) {
            cuts += cut().await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        cuts
    };
    let (tasks, cuts) = tokio::join!(load, cuts);
    assert!(cuts > 10, "only {cuts} connections were cut");
    for task in tasks {
        crate::until(async || state(&node, task.id()).await == Some(TaskState::Completed)).await;
        assert!(runs(task.id()) >= 1);
    }
    let last = count::dispatch(7).on(&node).await.unwrap();
    assert_eq!(last.output().await.unwrap(), 7);
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_lost_its_last_lanes_is_not_believed_to_have_them() {
    let Some(server) = evertask_servers::postgres() else { return };
    let schema = evertask_servers::schema();
    let mut hand = sql(server).await;
    let options = Postgres::options().schema(&schema).durable(false);
    let url = format!("{}&application_name={schema}", server.url());
    let node = builder(options.connect(url).await.unwrap()).start().await.unwrap();
    let run = async |n: u64| {
        let task = count::dispatch(n).on(&node).await.unwrap();
        let done = async || state(&node, task.id()).await == Some(TaskState::Completed);
        let soon = tokio::time::timeout(Duration::from_secs(60), crate::until(done)).await;
        soon.expect("it is in a lane that is looked into");
        task.id()
    };
    run(1).await;
    // Other nodes, which remember nothing, find it as well.
    let lane_of =
        format!("SELECT name FROM {schema}.tasks JOIN {schema}.lanes USING (lane) WHERE id = $1");
    // As a server has it that took over without the last commits, or was restored: the number is another's, or nobody's.
    for lose in ["UPDATE lanes SET name = 'of another' WHERE name = 'count'", "DELETE FROM lanes"] {
        hand.batch_execute(&format!("SET search_path = {schema}; {lose}")).await.unwrap();
        let cut =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
        hand.query(cut, &[&schema]).await.unwrap();
        let after = run(2).await;
        let lane = hand.query_opt(&lane_of, &[after.as_uuid()]).await.unwrap();
        assert_eq!(lane.expect("its lane exists").get::<_, &str>(0), "count", "{lose}");
    }
    // Who comes with a transaction may be there before any of our connections.
    hand.batch_execute("UPDATE lanes SET name = 'of a third' WHERE name = 'count'").await.unwrap();
    let mut tx = hand.transaction().await.unwrap();
    let within = count::dispatch(3).on(&node).within(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    let lane = hand.query_one(&lane_of, &[within.id().as_uuid()]).await.unwrap();
    assert_eq!(lane.get::<_, &str>(0), "count");
    crate::until(async || state(&node, within.id()).await == Some(TaskState::Completed)).await;
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_the_grants_that_are_documented_can_run_a_node() {
    let Some(server) = evertask_servers::postgres() else { return };
    let (schema, hand) = (evertask_servers::schema(), sql(server).await);
    // As `PostgresOptions::auto_migrate` has it: one role for the tables, another for what is in them.
    let roles = format!(
        "CREATE ROLE {schema}_dba LOGIN; CREATE ROLE {schema}_app LOGIN;
        GRANT CREATE ON DATABASE postgres TO {schema}_dba"
    );
    hand.batch_execute(&roles).await.unwrap();
    let url = |role: &str| server.url().replace("postgres@", &format!("{schema}_{role}@"));
    let options = Postgres::options().schema(&schema).durable(false);
    options.clone().connect(url("app")).await.unwrap_err();
    let grant = format!(
        "GRANT USAGE ON SCHEMA {schema} TO {schema}_app;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {schema}_app"
    );
    // By the program itself, and by the SQL for people, which may be run again.
    options.clone().connect(url("dba")).await.unwrap();
    let (dba, connection) = tokio_postgres::connect(&url("dba"), NoTls).await.unwrap();
    tokio::spawn(connection);
    dba.batch_execute(&Postgres::migrations_sql(&schema)).await.unwrap();
    dba.batch_execute(&grant).await.unwrap();
    let url = url("app");
    let storage = options.auto_migrate(false).connect(&url).await.unwrap();
    let node = builder(storage).start().await.unwrap();
    do_everything(&node).await;
    let (mut own, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let mut tx = own.transaction().await.unwrap();
    let within = count::dispatch(8).key("k").on(&node).within(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(within.output().await.unwrap(), 8);
    node.shutdown().await.unwrap();
    let gone = format!(
        "DROP SCHEMA {schema} CASCADE; REVOKE CREATE ON DATABASE postgres FROM {schema}_dba;
        DROP ROLE {schema}_app; DROP ROLE {schema}_dba"
    );
    hand.batch_execute(&gone).await.unwrap();
}

/// What a node and people do with tasks.
async fn do_everything(node: &Runtime) {
    let task = count::dispatch(7).tag("a", "b").on(node).await.unwrap();
    assert_eq!(task.output().await.unwrap(), 7);
    node.retry(task.id()).await.unwrap();
    task.output().await.unwrap();
    let keyed = count::dispatch(7).key("x").after(Duration::from_secs(600)).on(node);
    assert_eq!(keyed.await.unwrap().cancel().await.unwrap(), Cancel::Done);
    let held = hold::dispatch().on(node).await.unwrap();
    crate::until(async || state(node, held.id()).await == Some(TaskState::Running)).await;
    assert_eq!(held.cancel().await.unwrap(), Cancel::Asked);
    crate::until(async || state(node, held.id()).await == Some(TaskState::Cancelled)).await;
    let health = node.health().await;
    assert!(health.ok, "{health:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_keeps_what_was_stored_and_is_found_again() {
    let Some(server) = evertask_servers::own_postgres() else { return };
    // With every commit synced, as it is meant to be.
    let storage = Postgres::connect(server.url()).await.unwrap();
    let node = builder(storage).start().await.unwrap();
    let held = hold::dispatch().on(&node).await.unwrap();
    crate::until(async || state(&node, held.id()).await == Some(TaskState::Running)).await;
    let mut stored = Vec::new();
    for n in 0..50 {
        let later = count::dispatch(n).after(Duration::from_millis(1_500));
        stored.push(later.on(&node).await.unwrap());
    }
    server.crash();
    assert!(node.task(held.id()).await.is_err(), "the server is gone");
    server.restart();
    for task in &stored {
        crate::until(async || state(&node, task.id()).await == Some(TaskState::Completed)).await;
        assert_eq!(runs(task.id()), 1);
    }
    // It was out of touch for less than a lease, so nobody has taken its task.
    let info = node.task(held.id()).await.unwrap().unwrap();
    assert_eq!((info.state, info.lease), (TaskState::Running, 1));
    held.cancel().await.unwrap();
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_who_keeps_dead_rows_from_being_cleared_away() {
    let Some(server) = evertask_servers::postgres() else { return };
    let schema = evertask_servers::schema();
    let client = builder(connect(server, &schema).await).client().await.unwrap();
    let analyst = sql(server).await;
    let pid: i32 = analyst.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let report = "SELECT count(*) AS rows_of_a_long_report FROM pg_class";
    let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {report}");
    analyst.batch_execute(&begin).await.unwrap();
    let found = async || {
        let health = client.health().await;
        assert_eq!(health.storage_error, None);
        let hindrances = health.hindrances.into_iter();
        hindrances.into_iter().find(|it| it.pid == Some(pid.cast_unsigned()))
    };
    assert_eq!(found().await, None, "it has only just begun");
    crate::until(async || found().await.is_some()).await;
    let hindrance = found().await.unwrap();
    assert!(hindrance.query.as_deref().is_some_and(|it| it.contains("a_long_report")));
    assert!(hindrance.lasts > Duration::from_secs(1), "{hindrance:?}");
    let end = format!("SELECT pg_terminate_backend({pid})");
    assert!(hindrance.what.contains("`postgres`") && hindrance.what.contains(&end));
    analyst.batch_execute("COMMIT").await.unwrap();
    assert_eq!(found().await, None, "it is over");
}

/// How its own transaction, on a connection of another driver, is reached.
#[evertask::handler]
async fn encrypted(
    #[extract] mut tx: Tx<Postgres>,
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let ask = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    Ok(sqlx::query_scalar(ask).fetch_one(tx.get().await?).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_server_proves_as_much_as_the_url_asks_for() {
    let Some(server) = evertask_servers::postgres_with_tls() else { return };
    let root = format!("&sslrootcert={}", server.authority().display());
    let open = async |host: &str, parameters: &str| {
        let options = Postgres::options().durable(false);
        options.connect(server.tls_url(host, parameters)).await
    };
    let speaking = sql(&server).await;
    let over_tls = async || -> i64 {
        let count = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
            WHERE ssl AND application_name = 'evertask'";
        speaking.query_one(count, &[]).await.unwrap().get(0)
    };
    let postgres = open("localhost", "sslmode=disable").await.unwrap();
    assert_eq!(over_tls().await, 0);
    postgres.close().await;
    for (host, parameters) in [
        ("localhost", "sslmode=prefer".to_owned()),
        ("127.0.0.1", "sslmode=require".to_owned()),
        ("127.0.0.1", format!("sslmode=require{root}")),
        ("127.0.0.1", format!("sslmode=verify-ca{root}")),
        ("localhost", format!("sslmode=verify-full{root}")),
    ] {
        let postgres = open(host, &parameters).await.unwrap();
        let builder = builder(postgres.clone()).handler::<encrypted>();
        let node = builder.start().await.unwrap();
        let task = encrypted::dispatch().on(&node).await.unwrap();
        assert!(task.output().await.unwrap(), "{parameters}");
        assert!(over_tls().await > 0, "{parameters}");
        node.shutdown().await.unwrap();
        postgres.close().await;
        crate::until(async || over_tls().await == 0).await;
    }
    let other = "&sslrootcert=/etc/hostname";
    for (host, parameters, why) in [
        ("127.0.0.1", format!("sslmode=verify-full{root}"), "certificate"),
        ("localhost", "sslmode=verify-full".to_owned(), "certificate"),
        ("localhost", "sslmode=verify-ca".to_owned(), "certificate"),
        ("localhost", format!("sslmode=verify-full{other}"), "holds no certificate"),
        ("localhost", "sslmode=verify-full&sslrootcert=/none".to_owned(), "`/none`"),
    ] {
        let error = open(host, &parameters).await.unwrap_err();
        assert!(error.to_string().contains(why), "{parameters}: {error}");
    }
}

const HOLDER: &str = "EVERTASK_HOLDER_SCHEMA";
const LEASE: Duration = Duration::from_secs(3);

/// Not a test by itself: a process that holds a task until it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn holder() {
    let Ok(schema) = std::env::var(HOLDER) else { return };
    let storage = connect(evertask_servers::postgres().unwrap(), &schema).await;
    let _node = builder(storage).lease(LEASE).start().await.unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_is_missed_within_a_lease_and_its_task_runs_again() {
    let Some(server) = evertask_servers::postgres() else { return };
    let schema = evertask_servers::schema();
    let client = builder(connect(server, &schema).await).client().await.unwrap();
    let task = hold::dispatch().on(&client).await.unwrap();
    let info = async || task.info().await.unwrap().unwrap();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["postgres::holder", "--exact", "--test-threads=1"])
        .env(HOLDER, &schema)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    crate::until(async || info().await.state == TaskState::Running).await;
    let storage = connect(server, &schema).await;
    let node = builder(storage).lease(LEASE).start().await.unwrap();
    assert_eq!(info().await.lease, 1, "while it lives nobody takes its task");
    holder.kill().unwrap();
    holder.wait().unwrap();
    let died = Instant::now();
    crate::until(async || info().await.lease == 3 && info().await.state == TaskState::Running)
        .await;
    let took = died.elapsed();
    assert!(took < LEASE * 4, "{took:?}");
    assert_eq!(info().await.losses, 1);
    node.cancel(task.id()).await.unwrap();
    node.shutdown().await.unwrap();
}

/// Where the drop of a handler waits, and whether it does.
static GATE: Mutex<Option<Receiver<()>>> = Mutex::new(None);
static DROPPING: AtomicBool = AtomicBool::new(false);

struct SlowToEnd;

impl Drop for SlowToEnd {
    fn drop(&mut self) {
        DROPPING.store(true, Ordering::SeqCst);
        if let Some(gate) = &*GATE.lock().unwrap() {
            let _opened = gate.recv();
        }
    }
}

#[evertask::handler]
async fn slow_to_end() {
    let _slow = SlowToEnd;
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cancel_from_elsewhere_is_stored_only_after_the_handler_is_gone() {
    let Some(server) = evertask_servers::postgres() else { return };
    let schema = evertask_servers::schema();
    let node = node(server, &schema).await;
    let client = builder(connect(server, &schema).await).client().await.unwrap();
    let (open, gate) = channel();
    *GATE.lock().unwrap() = Some(gate);
    let task = slow_to_end::dispatch().on(&client).await.unwrap();
    crate::until(async || state(&client, task.id()).await == Some(TaskState::Running)).await;
    assert_eq!(task.cancel().await.unwrap(), Cancel::Asked);
    crate::until(async || DROPPING.load(Ordering::SeqCst)).await;
    for _ in 0..20 {
        assert_eq!(state(&client, task.id()).await, Some(TaskState::Running), "it still ends");
    }
    open.send(()).unwrap();
    crate::until(async || state(&client, task.id()).await == Some(TaskState::Cancelled)).await;
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_spends_no_attempt_and_keeps_the_place_in_the_line() {
    let Some(server) = evertask_servers::postgres() else { return };
    let schema = evertask_servers::schema();
    let client = builder(connect(server, &schema).await).client().await.unwrap();
    let node = builder(connect(server, &schema).await).shutdown_timeout(Duration::ZERO);
    let node = node.start().await.unwrap();
    let mut events = node.events();
    let task = stay::dispatch().on(&client).await.unwrap();
    let info = async || task.info().await.unwrap().unwrap();
    let due = info().await.due;
    // What the storage has given out may still be on its way here.
    while events.next().await.expect("the node lives").kind != EventKind::Started {}
    // Attempts that have to be stopped are told of by the shutdown; that is not what is asked here.
    let _told = node.shutdown().await;
    let after = info().await;
    assert_eq!((after.state, after.attempt, after.losses), (TaskState::Pending, 0, 0));
    assert_eq!(after.due, due);
    assert_eq!(after.attempts.len(), 1);
    assert_eq!(after.attempts[0].end, AttemptEnd::Interrupted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_works_on_while_a_newer_program_changes_the_tables() {
    let Some(server) = evertask_servers::postgres() else { return };
    let schema = evertask_servers::schema();
    let running = node(server, &schema).await;
    let next = sql(server).await;
    // As migrations do it: in one transaction, under the lock, an expanding step that ours need not know.
    let expand = |step: u32| {
        format!(
            "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('evertask.{schema}', 0)); SET LOCAL search_path = {schema};
             ALTER TABLE tasks ADD COLUMN of_{step} text NOT NULL DEFAULT 'new';
             ALTER TABLE nodes ADD COLUMN of_{step} bigint;
             CREATE INDEX tasks_of_{step} ON tasks (of_{step}, due_at) WHERE state = 0;
             INSERT INTO migrations (version, oldest) VALUES ({step}, 1); COMMIT;"
        )
    };
    let mut tasks = Vec::new();
    for step in 101..105 {
        for n in 0..25 {
            tasks.push(count::dispatch(n).on(&running).await.unwrap());
        }
        next.batch_execute(&expand(step)).await.unwrap();
    }
    // Another one like ours comes later than the newer one, as when a deploy is taken back.
    let late = node(server, &schema).await;
    for n in 0..100 {
        tasks.push(count::dispatch(n).on(&late).await.unwrap());
    }
    for task in &tasks {
        task.output().await.unwrap();
        assert_eq!(runs(task.id()), 1, "no transition had to be made twice in a way that shows");
    }
    // Then one that takes away what ours needs. No later one begins; those that run have had a release's time to go.
    let contract = format!("INSERT INTO {schema}.migrations (version, oldest) VALUES (105, 105)");
    next.batch_execute(&contract).await.unwrap();
    let refused = Postgres::options().schema(&schema).durable(false).connect(server.url()).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), StorageErrorKind::TooNew);
    for word in ["step 105", "update this program", &schema] {
        assert!(refused.to_string().contains(word), "{refused}");
    }
    for node in [running, late] {
        node.shutdown().await.unwrap();
    }
}
