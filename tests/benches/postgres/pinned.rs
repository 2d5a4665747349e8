//! What becomes of a queue while somebody's long transaction keeps all dead rows from being cleared away.

use std::time::{Duration, Instant};

use evertask::storage::{Beat, NodeId, Postgres, Storage};
use evertask_servers::Cluster;

use crate::{client, connect, fill, node, ran, storage, until_ran};

/// For so long the transaction is held.
const HELD: Duration = Duration::from_secs(180);
const TASKS: u64 = 20_000;

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
    tell_signs(&signs, running).await;
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
        tell_signs(&signs, running).await;
    }
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

/// What a sign of life and a look at other nodes take, the median of seven each.
async fn tell_signs(storage: &Postgres, running: NodeId) {
    let (mut renew, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        let start = Instant::now();
        storage.renew(Beat::new(running)).await.expect("a beat");
        renew.push(start.elapsed().as_secs_f64() * 1_000.0);
        let start = Instant::now();
        storage.peers(running).await.expect("others");
        peers.push(start.elapsed().as_secs_f64() * 1_000.0);
    }
    let (renew, peers) = (crate::median(renew), crate::median(peers));
    println!("        renew {renew:.1} ms, peers {peers:.1} ms");
}
