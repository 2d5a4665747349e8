//! How fast tasks go through PostgreSQL, beside what bare SQL does on the same server in the same run.
//!
//! `cargo bench -p evertask-tests --bench postgres [-- CASE]`. The server runs on the same machine, with every commit synced.

mod beside;
mod floor;
mod latency;
mod load;
mod pinned;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use evertask::{Runtime, storage::Postgres};
use evertask_servers::Cluster;
use tokio_postgres::{Client, NoTls};

use self::floor::Floor;

pub(crate) const PAYLOAD: &str = "a payload as many have it, with a name, an address and a few numbers in it, 150 bytes long \
    or so; it is not compressed, since that is what most are like";

static RAN: AtomicU64 = AtomicU64::new(0);

#[evertask::handler]
pub(crate) async fn noop(text: String) {
    let _ = text;
    RAN.fetch_add(1, Ordering::Relaxed);
}

/// How often [`noop`] ran in this process.
pub(crate) fn ran() -> u64 {
    RAN.load(Ordering::Relaxed)
}

fn main() {
    let case = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| case.as_ref().is_none_or(|case| name.contains(case.as_str()));
    let Some(server) = evertask_servers::own_postgres() else { return };
    println!("PostgreSQL {}", server.major());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let floor = Floor::new(&server).await;
        if wanted("enqueue") {
            load::enqueue(&server, &floor).await;
        }
        if wanted("drain") {
            load::drains(&server, &floor).await;
        }
        if wanted("both") {
            load::both(&server).await;
        }
        if wanted("latency") {
            latency::latency(&server).await;
        }
        if wanted("beside") {
            beside::beside(&server).await;
        }
        if wanted("pinned") {
            pinned::pinned(&server).await;
        }
    });
}

pub(crate) fn say(what: &str, per_second: f64, floor: Option<f64>) {
    match floor {
        Some(floor) => {
            println!("{what}: {per_second:.0}/s, {:.2} of {floor:.0}/s", per_second / floor);
        }
        None => println!("{what}: {per_second:.0}/s"),
    }
}

pub(crate) fn median(mut of: Vec<f64>) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of[of.len() / 2]
}

pub(crate) async fn storage(server: &Cluster, schema: &str) -> Postgres {
    Postgres::options().schema(schema).connect(server.url()).await.expect("a schema")
}

/// A node with so many slots, or as many as it has by default.
pub(crate) async fn node(server: &Cluster, schema: &str, slots: Option<usize>) -> Runtime {
    let mut builder = Runtime::builder().storage(storage(server, schema).await);
    if let Some(slots) = slots {
        builder = builder.concurrency(slots);
    }
    builder.start().await.expect("a node")
}

pub(crate) async fn client(server: &Cluster, schema: &str) -> Runtime {
    let storage = storage(server, schema).await;
    Runtime::builder().storage(storage).client().await.expect("a client")
}

pub(crate) async fn connect(server: &Cluster) -> Client {
    let (client, connection) =
        tokio_postgres::connect(&server.url(), NoTls).await.expect("a session");
    tokio::spawn(connection);
    client
}

/// Stores so many tasks that do nothing.
pub(crate) async fn fill(client: &Runtime, tasks: u64) {
    for _ in 0..tasks / 10_000 {
        let tasks = (0..10_000).map(|_| noop::new(PAYLOAD));
        evertask::dispatch_all(tasks).on(client).await.expect("stored");
    }
}

/// Until [`noop`] has run so often.
pub(crate) async fn until_ran(runs: u64) {
    while ran() < runs {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
