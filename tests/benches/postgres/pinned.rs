//! What becomes of a queue while somebody's long transaction keeps all dead rows from being cleared away.

use std::time::{Duration, Instant};

use evertask::storage::{Beat, Claims, NodeId, Postgres, Storage, StorageError};
use evertask_servers::Cluster;

use crate::{client, connect, fill, node, ran, storage, until_ran};

/// For so long the transaction is held.
const HELD: Duration = Duration::from_secs(180);
const TASKS: u64 = 20_000;
/// A fifth of a lease.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Batches are stored and run, one after the other, for minutes; and for comparison before it.
pub(crate) async fn pinned(server: &Cluster) {
    let minutes = std::env::var("EVERTASK_BENCH_PINNED").ok().and_then(|it| it.parse().ok());
    let held = minutes.map_or(HELD, Duration::from_secs);
    let schema = evertask_servers::schema();
    let (client, node) = (client(server, &schema).await, node(server, &schema, Some(200)).await);
    let round = async || {
        let before = ran();
        let start = Instant::now();
        fill(&client, TASKS).await;
        until_ran(before + TASKS).await;
        TASKS as f64 / start.elapsed().as_secs_f64()
    };
    let mut free = Vec::new();
    for _ in 0..4 {
        free.push(round().await);
    }
    let free = crate::median(free);
    let (signs, running) = (storage(server, &schema).await, held_by(server, &schema).await);
    let observer = NodeId::now_v7();
    let looks = tokio::spawn(look(signs.clone(), observer));
    tell_signs(&signs, &storage(server, &schema).await, running, observer).await;
    println!("stored and run in batches of {TASKS}: {free:.0}/s");
    let analyst = connect(server).await;
    analyst
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM bare")
        .await
        .expect("a snapshot");
    let (start, mut total, mut last) = (Instant::now(), 0, Vec::new());
    while start.elapsed() < held {
        let per_second = round().await;
        total += TASKS;
        last.push(per_second);
        println!(
            "    after {:>3} s, {total:>8} tasks: {per_second:.0}/s, {:.2} of that",
            start.elapsed().as_secs(),
            per_second / free
        );
        tell_signs(&signs, &storage(server, &schema).await, running, observer).await;
    }
    looks.abort();
    let tail = last.split_off(last.len().saturating_sub(5));
    println!(
        "under a held snapshot, at the end of {} s: {:.2} of that before",
        held.as_secs(),
        crate::median(tail) / free
    );
    for hindrance in node.health().await.hindrances {
        println!("    health: {hindrance:?}");
    }
    analyst.batch_execute("COMMIT").await.expect("the end of it");
    node.shutdown().await.expect("a shutdown");
}

/// The node that runs the tasks.
async fn held_by(server: &Cluster, schema: &str) -> NodeId {
    let sql = format!("SELECT id FROM \"{schema}\".nodes ORDER BY joined_at DESC LIMIT 1");
    connect(server).await.query_one(&sql, &[]).await.expect("a node").get(0)
}

/// Looks at other nodes as often as a node does.
async fn look(storage: Postgres, observer: NodeId) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        storage.peers(observer).await.expect("others");
    }
}

/// What a sign of life and a look at other nodes take: one that looks through all, in a process that remembers nothing, and the median
/// of seven that know where to look.
async fn tell_signs(storage: &Postgres, fresh: &Postgres, running: NodeId, observer: NodeId) {
    let renew = async |claims| {
        let mut beat = Beat::new(running);
        beat.claims = claims;
        timed(storage.renew(beat)).await
    };
    let peers = async |of: &Postgres| timed(of.peers(observer)).await;
    let (all, everywhere) = (renew(None).await, peers(fresh).await);
    let (mut some, mut from) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        // It is idle at this moment, and had an answer to all its claims.
        let claims = Claims { held: Vec::new(), answered: u64::MAX >> 1 };
        some.push(renew(Some(claims)).await);
        from.push(peers(storage).await);
    }
    let (some, from) = (crate::median(some), crate::median(from));
    println!(
        "        renew {all:.1} ms, then {some:.1} ms; peers {everywhere:.1} ms, then {from:.1} ms"
    );
}

/// How many milliseconds a call takes.
async fn timed<T>(call: impl Future<Output = Result<T, StorageError>>) -> f64 {
    let start = Instant::now();
    call.await.expect("an answer");
    start.elapsed().as_secs_f64() * 1_000.0
}
