//! How many tasks are stored and run per second.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use evertask::Runtime;
use evertask_servers::Cluster;

use crate::{Floor, PAYLOAD, client, connect, fill, median, node, noop, ran, say, until_ran};

/// Tasks stored per second by 64 who each wait for the answer, and how many shared a commit.
pub(crate) async fn enqueue(server: &Cluster, floor: &Floor<'_>) {
    let schema = evertask_servers::schema();
    let client = client(server, &schema).await;
    let sql = connect(server).await;
    let commits = async || -> i64 {
        let count = "SELECT xact_commit FROM pg_stat_database WHERE datname = 'postgres'";
        sql.query_one(count, &[]).await.expect("a count").get(0)
    };
    let warm = store(&client, Duration::from_secs(1)).await;
    assert!(warm > 0.0, "nothing is stored");
    let before = commits().await;
    let stored = store(&client, Duration::from_secs(5)).await;
    // The server counts with a delay of up to a second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let mean = stored * 5.0 / (commits().await - before).max(1) as f64;
    let bare = floor.insert(mean.round() as usize).await;
    say("enqueue, 64 dispatchers", stored, Some(bare));
    println!("    mean batch {mean:.1}");
}

/// Tasks stored per second by 64 who each wait for the answer.
pub(crate) async fn store(client: &Runtime, time: Duration) -> f64 {
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

/// Each number of slots beside the floor, in turns, three times.
pub(crate) async fn drains(server: &Cluster, floor: &Floor<'_>) {
    let slots = [None, Some(64), Some(200)];
    let mut ratios = [const { Vec::new() }; 3];
    let mut pairs = Vec::new();
    for _ in 0..3 {
        let (one, four) = (floor.work(1).await, floor.work(4).await);
        println!(
            "    bare claim and finish in batches of 100: {one:.0}/s on 1 connection, {four:.0}/s on 4"
        );
        for (slots, ratios) in slots.iter().zip(&mut ratios) {
            let drained = drain(server, 1, *slots).await;
            say(&format!("    drain, {}", named(*slots)), drained, Some(one.max(four)));
            ratios.push(drained / one.max(four));
        }
        let (one, two) = (drain(server, 1, Some(200)).await, drain(server, 2, Some(200)).await);
        pairs.push(two / one);
    }
    for (slots, ratios) in slots.iter().zip(ratios) {
        println!("drain, {}: {:.2} of the floor", named(*slots), median(ratios));
    }
    println!("drain, 2 nodes: {:.2} of 1 node", median(pairs));
}

fn named(slots: Option<usize>) -> String {
    slots.map_or("slots by default".to_owned(), |slots| format!("{slots} slots"))
}

/// Tasks run per second by nodes that find them stored.
pub(crate) async fn drain(server: &Cluster, nodes: usize, slots: Option<usize>) -> f64 {
    const TASKS: u64 = 60_000;
    let schema = evertask_servers::schema();
    fill(&client(server, &schema).await, TASKS).await;
    run(server, &schema, nodes, slots, TASKS).await
}

/// How many of these tasks are run per second, with the time to start and to end.
pub(crate) async fn run(
    server: &Cluster,
    schema: &str,
    nodes: usize,
    slots: Option<usize>,
    tasks: u64,
) -> f64 {
    let before = ran();
    let start = Instant::now();
    let mut running = Vec::new();
    for _ in 0..nodes {
        running.push(node(server, schema, slots).await);
    }
    until_ran(before + tasks).await;
    for node in running {
        // Until the last completion is stored.
        node.shutdown().await.expect("a shutdown");
    }
    tasks as f64 / start.elapsed().as_secs_f64()
}

/// Tasks per second that one process stores and runs at the same time.
pub(crate) async fn both(server: &Cluster) {
    let node = node(server, &evertask_servers::schema(), Some(200)).await;
    let before = ran();
    let stored = store(&node, Duration::from_secs(5)).await;
    println!("    of which {:.0}/s ran meanwhile", (ran() - before) as f64 / 5.0);
    node.shutdown().await.expect("a shutdown");
    say("dispatch while running", stored, None);
}
