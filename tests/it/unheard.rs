//! Commits of which the answer is lost: the connection breaks between the two, or just before.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use evertask::{Context, EventKind, Runtime, Tx, storage::Postgres};
use tokio_postgres::NoTls;

/// When the next commit of a handler's transaction is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Before the server hears of it.
    Before,
    /// After it has been carried out, before anybody hears of that.
    After,
}

/// Stands between a node and its server, and cuts where it is told to.
struct Scissors {
    place: tempfile::TempDir,
    next: Arc<Mutex<Option<Cut>>>,
    connections: Arc<Connections>,
}

/// How many connections there have been, and up to which one those of handlers have become silent.
#[derive(Debug, Default)]
struct Connections {
    made: AtomicUsize,
    silent: AtomicUsize,
}

impl Scissors {
    fn before(server: PathBuf) -> Self {
        let place = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(place.path().join(".s.PGSQL.5432")).unwrap();
        let (next, connections) = (Arc::new(Mutex::new(None)), Arc::new(Connections::default()));
        let (cuts, all) = (Arc::clone(&next), Arc::clone(&connections));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (server, cuts) = (UnixStream::connect(&server).unwrap(), Arc::clone(&cuts));
                let (number, all) = (all.made.fetch_add(1, Ordering::SeqCst), Arc::clone(&all));
                let is_silent = move || number < all.silent.load(Ordering::SeqCst);
                thread::spawn(move || pass(client, server, &cuts, is_silent));
            }
        });
        Self { place, next, connections }
    }

    /// From now on nothing comes through on the connections of handlers that there are, and nobody is told.
    fn silence(&self) {
        let made = self.connections.made.load(Ordering::SeqCst);
        self.connections.silent.store(made, Ordering::SeqCst);
    }

    fn url(&self) -> String {
        format!("postgres://postgres@/postgres?host={}", self.place.path().display())
    }
}

/// Passes on what both say, until one ends or it is to be cut.
fn pass(
    mut client: UnixStream,
    mut server: UnixStream,
    cuts: &Mutex<Option<Cut>>,
    is_silent: impl Fn() -> bool,
) {
    let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let end = |stream: &UnixStream| drop(stream.shutdown(Shutdown::Both));
    let back = thread::spawn(move || {
        let _until_it_ends = std::io::copy(&mut from, &mut to);
        end(&to);
    });
    let (mut said, mut handlers) = (vec![0; 1 << 16], false);
    while let Ok(length @ 1..) = client.read(&mut said) {
        let said = &said[..length];
        let says = |words: &str| said.windows(words.len()).any(|it| it == words.as_bytes());
        // What only those connections are asked for on which handlers have their transactions.
        handlers |= says("client_connection_check_interval");
        if handlers && is_silent() {
            continue;
        }
        let cut = if handlers && says("COMMIT") { cuts.lock().unwrap().take() } else { None };
        if cut.is_some() {
            // It hears nothing any more. What is sent to the server is carried out, whether or not anybody is there to be told.
            end(&client);
        }
        if cut == Some(Cut::Before) || server.write_all(said).is_err() || cut.is_some() {
            break;
        }
    }
    end(&client);
    end(&server);
    let _ended = back.join();
}

#[evertask::handler(backoff = "fixed(1ms)")]
async fn insert(
    table: String,
    ctx: Context,
    #[extract] mut tx: Tx<Postgres>,
) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
    let attempt = ctx.attempt();
    let insert = sqlx::AssertSqlSafe(format!("INSERT INTO {table} VALUES ($1)"));
    sqlx::query(insert).bind(i64::from(attempt)).execute(tx.get().await?).await?;
    Ok(attempt)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_wrote_is_stored_once_wherever_the_connection_breaks_around_its_commit() {
    let Some(server) = evertask_servers::postgres() else { return };
    let scissors = Scissors::before(server.socket());
    let schema = evertask_servers::schema();
    let storage = Postgres::options().schema(&schema).durable(false);
    let storage = storage.connect(scissors.url()).await.unwrap();
    let builder = Runtime::builder().storage(storage).discover(false).handler::<insert>();
    let node = builder.start().await.unwrap();
    let (sql, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    for (at, cut) in
        [Some(Cut::After), Some(Cut::Before), None, Some(Cut::After)].iter().enumerate()
    {
        let table = format!("{schema}.rows_{at}");
        sql.batch_execute(&format!("CREATE TABLE {table} (attempt bigint)")).await.unwrap();
        let mut events = node.events();
        *scissors.next.lock().unwrap() = *cut;
        let task = insert::dispatch(&*table).on(&node).await.unwrap();
        let attempt = task.output().await.unwrap();
        let rows = sql.query(&format!("SELECT attempt FROM {table}"), &[]).await.unwrap();
        let rows: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(*scissors.next.lock().unwrap(), None, "nothing was cut");
        assert_eq!(rows, [i64::from(attempt)], "{cut:?}");
        assert_eq!(attempt, if *cut == Some(Cut::Before) { 2 } else { 1 }, "{cut:?}");
        let mut completed = 0;
        while completed == 0 {
            let event = events.next().await.unwrap();
            completed += u32::from(event.kind == EventKind::Completed);
            assert_ne!(event.kind, EventKind::LeaseLost, "{cut:?}");
        }
        assert_eq!(task.info().await.unwrap().unwrap().attempt, attempt);
    }
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_that_was_cut_silently_holds_nobody_up() {
    let Some(server) = evertask_servers::postgres() else { return };
    let scissors = Scissors::before(server.socket());
    let schema = evertask_servers::schema();
    let storage = Postgres::options().schema(&schema).durable(false);
    let storage = storage.connect(scissors.url()).await.unwrap();
    let builder = Runtime::builder().storage(storage).discover(false).handler::<insert>();
    let node = builder.start().await.unwrap();
    let (sql, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let table = format!("{schema}.rows");
    sql.batch_execute(&format!("CREATE TABLE {table} (attempt bigint)")).await.unwrap();
    for _ in 0..2 {
        let task = insert::dispatch(&*table).on(&node).await.unwrap();
        let output = tokio::time::timeout(Duration::from_secs(60), task.output()).await;
        assert_eq!(output.expect("it takes another connection").unwrap(), 1);
        scissors.silence();
    }
    node.shutdown().await.unwrap();
}
