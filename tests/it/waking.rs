//! How soon one process hears on PostgreSQL of what another one has stored, and how little is said for it.

use std::{
    future::poll_fn,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use evertask::{Runtime, storage::Postgres};
use evertask_servers::Cluster;
use tokio_postgres::{AsyncMessage, Client, NoTls};

/// When it ran, by the clock that all processes of a machine share.
#[evertask::handler(retries = 0)]
async fn begun_at() -> Duration {
    now()
}

fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

async fn builder(server: &Cluster, schema: &str) -> evertask::Builder {
    let options = Postgres::options().schema(schema).durable(false);
    let storage = options.connect(server.url()).await.unwrap();
    Runtime::builder().storage(storage).discover(false).handler::<begun_at>()
}

const SCHEMA: &str = "EVERTASK_WAKING_SCHEMA";

/// Not a test by itself: the other process. Does nothing unless told where.
#[tokio::test(flavor = "multi_thread")]
async fn sleeper() {
    let Ok(schema) = std::env::var(SCHEMA) else { return };
    let server = evertask_servers::postgres().unwrap();
    let _node = builder(server, &schema).await.start().await.unwrap();
    std::future::pending::<()>().await;
}

/// A session that hears what is said on this channel, and how often something was.
async fn listen(server: &Cluster, channel: &str) -> (Client, Arc<AtomicUsize>) {
    let (client, mut connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    let heard = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(_) = message {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    client.batch_execute(&format!("LISTEN \"{channel}\"")).await.unwrap();
    (client, heard)
}

fn median(mut of: Vec<Duration>) -> Duration {
    of.sort_unstable();
    of[of.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_begins_in_another_process_within_milliseconds() {
    const MANY: usize = 51;
    let Some(server) = evertask_servers::postgres() else { return };
    let schema = evertask_servers::schema();
    let client = builder(server, &schema).await.client().await.unwrap();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["waking::sleeper", "--exact", "--test-threads=1"])
        .env(SCHEMA, &schema)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut took = Vec::new();
    // The first one waits for the process to start.
    for n in 0..=MANY {
        let dispatched = now();
        let task = begun_at::dispatch().on(&client).await.unwrap();
        let begun = task.output().await.unwrap();
        if n > 0 {
            took.push(begun.saturating_sub(dispatched));
        }
    }
    other.kill().unwrap();
    other.wait().unwrap();
    let median = median(took);
    println!("from a dispatch to the start in another process: {median:?} (median of {MANY})");
    // There is the commit of the dispatch in it, a notification, and the commit of the claim.
    assert!(median < Duration::from_millis(20), "{median:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_dispatches_in_a_burst_few_are_told_of() {
    const DISPATCHERS: usize = 50;
    const EACH: usize = 20;
    let Some(server) = evertask_servers::postgres() else { return };
    let schema = evertask_servers::schema();
    let client = builder(server, &schema).await.client().await.unwrap();
    let (listener, heard) = listen(server, &format!("evertask.{schema}")).await;
    let start = Instant::now();
    let mut dispatchers = tokio::task::JoinSet::new();
    for _ in 0..DISPATCHERS {
        let client = client.clone();
        dispatchers.spawn(async move {
            for _ in 0..EACH {
                begun_at::dispatch().on(&client).await.unwrap();
            }
        });
    }
    dispatchers.join_all().await;
    let took = start.elapsed();
    crate::until(async || heard.load(Ordering::SeqCst) > 0).await;
    // What is told last is told a few milliseconds later, and what was told before this answer has come before it.
    tokio::time::sleep(Duration::from_millis(50)).await;
    listener.batch_execute("SELECT 1").await.unwrap();
    let heard = heard.load(Ordering::SeqCst);
    println!("{} dispatches in {took:?}: {heard} notifications", DISPATCHERS * EACH);
    // At most one in three milliseconds.
    let most = 2 + usize::try_from((took.as_millis() + 50) / 3).unwrap();
    assert!(heard <= most, "{heard} notifications in {took:?}");
    assert!(heard * 4 <= DISPATCHERS * EACH, "{heard} for {} dispatches", DISPATCHERS * EACH);
}
