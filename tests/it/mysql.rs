//! What many processes on one MariaDB add: looking for each other, dying, losing the connection or the server.
//!
//! Where each promise is on trial on MariaDB; `chaos` is the binary of that name, `laws` are those of `conformance::mysql`:
//!
//! | promise | tests |
//! |---|---|
//! | stored means stored | `a_server_that_crashes_…` here, `mysql_within`; `opening::a_server_that_does_not_sync_its_commits_…` inside the library; `chaos::database`, `chaos::disk` |
//! | at least once, never lost | `chaos::processes`, `chaos::database`, `chaos::disk` |
//! | fenced | laws `fence`; `chaos::processes`, which counts the refusals; `chaos::stopped::who_wakes_up_too_late_…`, task by task; `chaos::alone`, whose handlers stop before others begin |
//! | rescued in seconds, nobody alive robbed | `chaos::processes`, `chaos::database`, `chaos::blocked`, `chaos::alone` |
//! | stopped means stopped | `a_cancel_from_elsewhere_…` here, `chaos::stopped::a_timeout_…`, laws `cancel`; `look` inside the library |
//! | interrupted is not failed | `a_killed_process_…` and `a_shutdown_…` here, `chaos::poison`, laws `rescue` and `settle` |
//! | a tick fires once | laws `schedules`; `chaos::ticks` |
//! | idle is silent | `idle` beside this, `a_dispatch_is_found_…` here, `look::what_concerns_nobody_here_…` inside the library, laws `waking` |
//! | a waiting task costs nothing | `plans` inside the library |
//! | wrong is told early, loops never die in silence | `chaos::database::a_silence_of_any_length_…`, `chaos::disk`, `opening` inside the library |
//! | rolling deploys | `a_node_works_on_…` here, `stored`, `rolling` and `opening` inside the library, laws `claim` |
//! | everything is bounded | `sizes` inside the library, laws `bounds` and `batch`; memory in an outage in `chaos::pressure`, `chaos::database` and `chaos::disk` |

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
    AttemptEnd, Cancel, Context, Dispatched, EventKind, Runtime, StorageErrorKind, TaskId,
    TaskState,
    storage::{MySql, MySqlOptions},
};
use evertask_servers::Mariadb;
use mysql_async::{Conn, Opts, prelude::Queryable};

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

/// As often as it takes for a test: a look in the usual second proves no more.
fn options(prefix: &str) -> MySqlOptions {
    MySql::options().prefix(prefix).durable(false).look_every(Duration::from_millis(50))
}

async fn connect(server: &Mariadb, prefix: &str) -> MySql {
    options(prefix).connect(server.url()).await.unwrap()
}

fn builder(storage: MySql) -> evertask::Builder {
    let builder = Runtime::builder().storage(storage).discover(false);
    builder.handler::<count>().handler::<hold>().handler::<slow_to_end>().handler::<stay>()
}

async fn node(server: &Mariadb, prefix: &str) -> Runtime {
    builder(connect(server, prefix).await).start().await.unwrap()
}

async fn state(runtime: &Runtime, id: TaskId) -> Option<TaskState> {
    runtime.task(id).await.ok().flatten().map(|task| task.state)
}

/// A client of the test's own, beside the storage.
async fn sql(server: &Mariadb) -> Conn {
    Conn::new(Opts::from_url(&server.url()).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatch_is_found_by_another_process_and_its_end_is_found_back() {
    let Some(server) = evertask_servers::mariadb() else { return };
    let prefix = evertask_servers::schema();
    let node = node(server, &prefix).await;
    // A storage of its own shares nothing with the other one but the server.
    let client = builder(connect(server, &prefix).await).client().await.unwrap();
    let mut fastest = Duration::MAX;
    for n in 0..10 {
        let start = Instant::now();
        let task = count::dispatch(n).on(&client).await.unwrap();
        assert_eq!(task.output().await.unwrap(), n);
        fastest = fastest.min(start.elapsed());
    }
    // Without looks it would be found by the slow one of the runtime, much later.
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn applications_with_prefixes_of_their_own_never_see_each_other() {
    let Some(server) = evertask_servers::mariadb() else { return };
    let prefix = evertask_servers::schema();
    // The one begins as the other one does.
    let (one, other) = (format!("{prefix}_"), format!("{prefix}_a_"));
    let one = node(server, &one).await;
    let other = builder(connect(server, &other).await).client().await.unwrap();
    let keyed = async |runtime: &Runtime| count::dispatch(1).key("same").on(runtime).await.unwrap();
    let (theirs, ours) = (keyed(&other).await, keyed(&one).await);
    assert_eq!(ours.output().await.unwrap(), 1);
    assert_eq!(state(&one, theirs.id()).await, None);
    assert_eq!(state(&other, theirs.id()).await, Some(TaskState::Pending));
    one.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_share_the_work_and_never_a_task() {
    let Some(server) = evertask_servers::mariadb() else { return };
    let prefix = evertask_servers::schema();
    let nodes = [node(server, &prefix).await, node(server, &prefix).await];
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
    let Some(server) = evertask_servers::mariadb() else { return };
    let prefix = evertask_servers::schema();
    let mut dispatching = Vec::new();
    for turn in 0..4 {
        let client = builder(connect(server, &prefix).await).client().await.unwrap();
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
async fn over_tls_a_server_proves_as_much_as_the_url_asks_for() {
    let Some(server) = evertask_servers::mariadb_with_tls() else { return };
    let root = format!("&ssl-ca={}", server.authority().display());
    let open = async |host: &str, parameters: &str| {
        let options = MySql::options().durable(false);
        options.connect(server.tls_url("private", host, parameters)).await
    };
    // Who comes in by this name speaks TLS.
    let private = "CREATE USER private@'%' REQUIRE SSL; GRANT ALL ON *.* TO private@'%'";
    sql(&server).await.query_drop(private).await.unwrap();
    let refused = open("localhost", "ssl-mode=DISABLED").await.unwrap_err().to_string();
    assert!(refused.contains("Access denied"), "{refused}");
    for (host, parameters) in [
        ("127.0.0.1", "ssl-mode=REQUIRED".to_owned()),
        ("localhost", format!("ssl-mode=REQUIRED{root}")),
        ("localhost", format!("ssl-mode=VERIFY_IDENTITY{root}")),
    ] {
        let mysql =
            open(host, &parameters).await.unwrap_or_else(|why| panic!("{parameters}: {why}"));
        let node = builder(mysql).start().await.unwrap();
        let task = count::dispatch(7).on(&node).await.unwrap();
        assert_eq!(task.output().await.unwrap(), 7, "{parameters}");
        node.shutdown().await.unwrap();
    }
    for (host, parameters, why) in [
        ("127.0.0.1", format!("ssl-mode=VERIFY_IDENTITY{root}"), "certificate"),
        ("localhost", "ssl-mode=VERIFY_IDENTITY".to_owned(), "certificate"),
        ("127.0.0.1", format!("ssl-mode=REQUIRED{root}"), "certificate"),
        ("localhost", "ssl-ca=/etc/hostname".to_owned(), "holds no certificate"),
    ] {
        let error = open(host, &parameters).await.unwrap_err().to_string();
        assert!(error.contains(why), "{parameters}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_lose_nothing_and_stop_no_loop() {
    let Some(server) = evertask_servers::mariadb() else { return };
    let database = evertask_servers::schema();
    let mut killer = sql(server).await;
    // Connections of this test are those to a database of its own.
    killer.query_drop(format!("CREATE DATABASE {database}")).await.unwrap();
    let storage = options("").connect(server.url_of(&database)).await.unwrap();
    let node = builder(storage).start().await.unwrap();
    let mut cut = async || {
        let ids = format!("SELECT id FROM information_schema.processlist WHERE db = '{database}'");
        let ids: Vec<u64> = killer.query(ids).await.unwrap();
        for id in &ids {
            // It may have ended meanwhile.
            let _cut = killer.query_drop(format!("KILL CONNECTION {id}")).await;
        }
        ids.len()
    };
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
    let Some(server) = evertask_servers::mariadb() else { return };
    let database = evertask_servers::schema();
    let mut hand = sql(server).await;
    // Connections of this test are those to a database of its own.
    hand.query_drop(format!("CREATE DATABASE {database}")).await.unwrap();
    let storage = options("").connect(server.url_of(&database)).await.unwrap();
    let node = builder(storage).start().await.unwrap();
    let run = async |n: u64| {
        let task = count::dispatch(n).on(&node).await.unwrap();
        let done = async || state(&node, task.id()).await == Some(TaskState::Completed);
        let soon = tokio::time::timeout(Duration::from_secs(60), crate::until(done)).await;
        soon.expect("it is in a lane that is looked into");
    };
    run(1).await;
    // As a server has it that took over without the last commits, or was restored: the number is another's, or nobody's.
    for lose in [
        format!("UPDATE {database}.lanes SET name = 'of another' WHERE name = 'count'"),
        format!("DELETE FROM {database}.lanes"),
    ] {
        hand.query_drop(lose).await.unwrap();
        let ids = format!("SELECT id FROM information_schema.processlist WHERE db = '{database}'");
        let ids: Vec<u64> = hand.query(ids).await.unwrap();
        for id in ids {
            // It may have ended meanwhile.
            let _cut = hand.query_drop(format!("KILL CONNECTION {id}")).await;
        }
        run(2).await;
    }
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_grants_that_are_documented_can_run_a_node() {
    let Some(server) = evertask_servers::mariadb() else { return };
    let (database, mut hand) = (evertask_servers::schema(), sql(server).await);
    // As `MySqlOptions::auto_migrate` has it: one user for the tables, another for what is in them.
    for prepare in [
        format!("CREATE DATABASE {database}"),
        format!("CREATE USER {database}_dba@localhost"),
        format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX ON {database}.* TO {database}_dba@localhost"
        ),
        format!("CREATE USER {database}_app@localhost"),
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.* TO {database}_app@localhost"),
    ] {
        hand.query_drop(prepare).await.unwrap();
    }
    let url =
        |user: &str| server.url_of(&database).replace("root@", &format!("{database}_{user}@"));
    options("").auto_migrate(false).connect(url("app")).await.unwrap_err();
    options("").connect(url("dba")).await.unwrap();
    let storage = options("").auto_migrate(false).connect(url("app")).await.unwrap();
    let node = builder(storage).start().await.unwrap();
    let task = count::dispatch(7).tag("a", "b").on(&node).await.unwrap();
    assert_eq!(task.output().await.unwrap(), 7);
    node.retry(task.id()).await.unwrap();
    task.output().await.unwrap();
    let keyed = count::dispatch(7).key("x").after(Duration::from_secs(600)).on(&node);
    assert_eq!(keyed.await.unwrap().cancel().await.unwrap(), Cancel::Done);
    let held = hold::dispatch().on(&node).await.unwrap();
    crate::until(async || state(&node, held.id()).await == Some(TaskState::Running)).await;
    assert_eq!(held.cancel().await.unwrap(), Cancel::Asked);
    crate::until(async || state(&node, held.id()).await == Some(TaskState::Cancelled)).await;
    let health = node.health().await;
    assert!(health.ok, "{health:?}");
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_keeps_what_was_stored_and_is_found_again() {
    let Some(server) = evertask_servers::own_mariadb() else { return };
    // With every commit synced, as it is meant to be.
    let storage = MySql::connect(server.url()).await.unwrap();
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

const HOLDER: &str = "EVERTASK_HOLDER_PREFIX";
const LEASE: Duration = Duration::from_secs(3);

/// Not a test by itself: a process that holds a task until it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn holder() {
    let Ok(prefix) = std::env::var(HOLDER) else { return };
    let storage = connect(evertask_servers::mariadb().unwrap(), &prefix).await;
    let _node = builder(storage).lease(LEASE).start().await.unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_is_missed_within_a_lease_and_its_task_runs_again() {
    let Some(server) = evertask_servers::mariadb() else { return };
    let prefix = evertask_servers::schema();
    let client = builder(connect(server, &prefix).await).client().await.unwrap();
    let task = hold::dispatch().on(&client).await.unwrap();
    let info = async || task.info().await.unwrap().unwrap();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["mysql::holder", "--exact", "--test-threads=1"])
        .env(HOLDER, &prefix)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    crate::until(async || info().await.state == TaskState::Running).await;
    let storage = connect(server, &prefix).await;
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

static DROPPING: AtomicBool = AtomicBool::new(false);
static GATE: Mutex<Option<Receiver<()>>> = Mutex::new(None);

/// Its drop waits for the gate.
struct SlowToEnd;

impl Drop for SlowToEnd {
    fn drop(&mut self) {
        DROPPING.store(true, Ordering::SeqCst);
        if let Some(gate) = GATE.lock().unwrap().take() {
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
    let Some(server) = evertask_servers::mariadb() else { return };
    let prefix = evertask_servers::schema();
    let node = node(server, &prefix).await;
    let client = builder(connect(server, &prefix).await).client().await.unwrap();
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
    let Some(server) = evertask_servers::mariadb() else { return };
    let prefix = evertask_servers::schema();
    let client = builder(connect(server, &prefix).await).client().await.unwrap();
    let node = builder(connect(server, &prefix).await).shutdown_timeout(Duration::ZERO);
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
    let Some(server) = evertask_servers::mariadb() else { return };
    let prefix = evertask_servers::schema();
    let running = node(server, &prefix).await;
    let mut next = sql(server).await;
    // An expanding step that ours need not know; here each of its statements is a transaction of its own.
    let expand = |step: u32| {
        [
            format!(
                "ALTER TABLE {prefix}tasks ADD COLUMN of_{step} VARBINARY(8) NOT NULL DEFAULT 'new'"
            ),
            format!("ALTER TABLE {prefix}nodes ADD COLUMN of_{step} BIGINT"),
            format!("CREATE INDEX of_{step} ON {prefix}tasks (of_{step}, due_at)"),
            format!("INSERT INTO {prefix}migrations (version, oldest) VALUES ({step}, 1)"),
        ]
    };
    let mut tasks = Vec::new();
    for step in 101..105 {
        for n in 0..25 {
            tasks.push(count::dispatch(n).on(&running).await.unwrap());
        }
        for statement in expand(step) {
            next.query_drop(statement).await.unwrap();
        }
    }
    // Another one like ours comes later than the newer one, as when a deploy is taken back.
    let late = node(server, &prefix).await;
    for n in 0..100 {
        tasks.push(count::dispatch(n).on(&late).await.unwrap());
    }
    for task in &tasks {
        task.output().await.unwrap();
        assert_eq!(runs(task.id()), 1, "no transition had to be made twice in a way that shows");
    }
    // Then one that takes away what ours needs. No later one begins; those that run have had a release's time to go.
    let contract = format!("INSERT INTO {prefix}migrations (version, oldest) VALUES (105, 105)");
    next.query_drop(contract).await.unwrap();
    let refused = options(&prefix).connect(server.url()).await.unwrap_err();
    assert_eq!(refused.kind(), StorageErrorKind::TooNew);
    for word in ["step 105", "update this program", &prefix] {
        assert!(refused.to_string().contains(word), "{refused}");
    }
    for node in [running, late] {
        node.shutdown().await.unwrap();
    }
}
