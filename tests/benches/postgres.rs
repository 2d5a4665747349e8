//! How fast tasks go through PostgreSQL, beside what bare SQL does on the same server in the same run.
//!
//! `cargo bench -p evertask-tests --bench postgres`. The server runs on the same machine, with every commit synced.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use evertask::{Runtime, storage::Postgres};
use evertask_servers::Cluster;
use tokio_postgres::{Client, NoTls};

const PAYLOAD: &str = "a payload as many have it, with a name, an address and a few numbers in it, 150 bytes long or so; \
    it is not compressed, since that is what most are like";

static RAN: AtomicU64 = AtomicU64::new(0);

#[evertask::handler]
async fn noop(text: String) {
    let _ = text;
    RAN.fetch_add(1, Ordering::Relaxed);
}

#[evertask::handler(queue = "clock")]
async fn clock(start: u128) -> u64 {
    u64::try_from(now().saturating_sub(start)).unwrap_or(u64::MAX)
}

/// Microseconds; both ends of a latency are on this machine.
fn now() -> u128 {
    std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_micros()
}

fn main() {
    let Some(server) = evertask_servers::own_postgres() else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let floor = Floor::new(&server).await;
        let (stored, mean) = enqueue(&server).await;
        let bare = floor.insert(mean.round() as usize).await;
        say("enqueue, 64 dispatchers", stored, Some(bare));
        println!("    mean batch {mean:.1}");
        let drained = drain(&server, 1).await;
        let (one, four) = (floor.work(1).await, floor.work(4).await);
        println!("    bare claim and finish in batches of 100: {one:.0}/s on 1 connection, {four:.0}/s on 4");
        say("drain, 1 node", drained, Some(one.max(four)));
        let two = drain(&server, 2).await;
        say("drain, 2 nodes beside drain, 1 node", two, Some(drained));
        say("dispatch while running", both(&server).await, None);
        latency(&server).await;
    });
}

fn say(what: &str, per_second: f64, floor: Option<f64>) {
    match floor {
        Some(floor) => {
            println!("{what}: {per_second:.0}/s, {:.2} of {floor:.0}/s", per_second / floor);
        }
        None => println!("{what}: {per_second:.0}/s"),
    }
}

async fn node(server: &Cluster, schema: &str) -> Runtime {
    let storage = Postgres::options().schema(schema).connect(server.url()).await.expect("a schema");
    // About as many tasks in hand as the floor has with its four connections.
    let builder = Runtime::builder().storage(storage).concurrency(200);
    builder.start().await.expect("a node")
}

async fn client(server: &Cluster, schema: &str) -> Runtime {
    let storage = Postgres::options().schema(schema).connect(server.url()).await.expect("a schema");
    Runtime::builder().storage(storage).client().await.expect("a client")
}

/// Tasks stored per second by 64 who each wait for the answer, and how many shared a commit.
async fn enqueue(server: &Cluster) -> (f64, f64) {
    let schema = evertask_servers::schema();
    let client = client(server, &schema).await;
    let sql = connect(server).await;
    let commits = async || -> i64 {
        let count = "SELECT xact_commit FROM pg_stat_database WHERE datname = 'postgres'";
        sql.query_one(count, &[]).await.expect("a count").get(0)
    };
    let stored = load(&client, Duration::from_secs(1)).await;
    let _warm = stored;
    let before = commits().await;
    let stored = load(&client, Duration::from_secs(5)).await;
    // The server counts with a delay of up to a second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let mean = stored * 5.0 / (commits().await - before).max(1) as f64;
    (stored, mean)
}

async fn load(client: &Runtime, time: Duration) -> f64 {
    let (start, stop, stored) = (Instant::now(), Arc::new(AtomicBool::new(false)), Arc::default());
    let dispatchers: Vec<_> = (0..64)
        .map(|_| {
            let (client, stop, stored) = (client.clone(), Arc::clone(&stop), Arc::clone(&stored));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    noop::dispatch(PAYLOAD).on(&client).await.expect("stored");
                    AtomicU64::fetch_add(&stored, 1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    for dispatcher in dispatchers {
        dispatcher.await.expect("it ends");
    }
    stored.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

/// Tasks run per second by nodes that find them stored.
async fn drain(server: &Cluster, nodes: usize) -> f64 {
    const TASKS: u64 = 60_000;
    let schema = evertask_servers::schema();
    let client = client(server, &schema).await;
    for _ in 0..TASKS / 10_000 {
        let tasks = (0..10_000).map(|_| noop::new(PAYLOAD));
        evertask::dispatch_all(tasks).on(&client).await.expect("stored");
    }
    let before = RAN.load(Ordering::Relaxed);
    let start = Instant::now();
    let mut running = Vec::new();
    for _ in 0..nodes {
        running.push(node(server, &schema).await);
    }
    while RAN.load(Ordering::Relaxed) < before + TASKS {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for node in running {
        // Until the last completion is stored.
        node.shutdown().await.expect("a shutdown");
    }
    TASKS as f64 / start.elapsed().as_secs_f64()
}

/// Tasks per second that one process stores and runs at the same time.
async fn both(server: &Cluster) -> f64 {
    let node = node(server, &evertask_servers::schema()).await;
    let before = RAN.load(Ordering::Relaxed);
    let stored = load(&node, Duration::from_secs(5)).await;
    let ran = RAN.load(Ordering::Relaxed) - before;
    println!("    of which {:.0}/s ran meanwhile", ran as f64 / 5.0);
    node.shutdown().await.expect("a shutdown");
    stored
}

/// From dispatch in one process to start in another, 50 times a second.
async fn latency(server: &Cluster) {
    let schema = evertask_servers::schema();
    let (node, client) = (node(server, &schema).await, client(server, &schema).await);
    let mut tasks = Vec::new();
    for _ in 0..250 {
        tasks.push(clock::dispatch(now()).on(&client).await.expect("stored"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut micros = Vec::new();
    for task in tasks {
        micros.push(task.output().await.expect("it ran"));
    }
    micros.sort_unstable();
    let at = |share: f64| micros[(micros.len() as f64 * share) as usize] as f64 / 1_000.0;
    println!("dispatch to start, 50/s: p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99));
    node.shutdown().await.expect("a shutdown");
}

/// What bare SQL does.
struct Floor<'s> {
    server: &'s Cluster,
}

impl<'s> Floor<'s> {
    async fn new(server: &'s Cluster) -> Self {
        let sql = connect(server).await;
        sql.batch_execute(
            "CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state smallint NOT NULL DEFAULT 0,
                 due_at timestamptz NOT NULL DEFAULT now(), payload bytea NOT NULL);
             CREATE INDEX ON bare (due_at, id) WHERE state = 0;",
        )
        .await
        .expect("a table");
        Self { server }
    }

    async fn insert(&self, batch: usize) -> f64 {
        let sql = connect(self.server).await;
        let insert = "INSERT INTO bare (payload) SELECT * FROM unnest($1::bytea[])";
        let insert = sql.prepare(insert).await.expect("a statement");
        let rows = vec![PAYLOAD.as_bytes(); batch.max(1)];
        let (start, mut stored) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_secs(5) {
            stored += sql.execute(&insert, &[&rows]).await.expect("stored");
        }
        stored as f64 / start.elapsed().as_secs_f64()
    }

    async fn work(&self, connections: usize) -> f64 {
        let sql = connect(self.server).await;
        sql.batch_execute("TRUNCATE bare").await.expect("empty");
        let fill = "INSERT INTO bare (payload) SELECT $1 FROM generate_series(1, 60000)";
        sql.execute(fill, &[&PAYLOAD.as_bytes()]).await.expect("full");
        let start = Instant::now();
        let mut workers = Vec::new();
        for _ in 0..connections {
            let sql = connect(self.server).await;
            workers.push(tokio::spawn(async move {
                let claim = "UPDATE bare SET state = 1 WHERE id = ANY(ARRAY(SELECT id FROM bare WHERE state = 0
                    ORDER BY due_at, id LIMIT 100 FOR UPDATE SKIP LOCKED)) RETURNING id, payload";
                let claim = sql.prepare(claim).await.expect("a statement");
                let finish = "UPDATE bare SET state = 2 WHERE id = ANY($1)";
                let finish = sql.prepare(finish).await.expect("a statement");
                loop {
                    let rows = sql.query(&claim, &[]).await.expect("claimed");
                    if rows.is_empty() {
                        return;
                    }
                    let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
                    sql.execute(&finish, &[&ids]).await.expect("finished");
                }
            }));
        }
        for worker in workers {
            worker.await.expect("it ends");
        }
        60_000.0 / start.elapsed().as_secs_f64()
    }
}

async fn connect(server: &Cluster) -> Client {
    let (client, connection) =
        tokio_postgres::connect(&server.url(), NoTls).await.expect("a session");
    tokio::spawn(connection);
    client
}
