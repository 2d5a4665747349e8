//! Who holds what, looked for amid dead rows: nothing is missed that a node knows of, and nothing is looked through twice.

use std::{sync::Arc, time::Duration};

use tokio_postgres::types::Type;

use super::{fresh, session};
use crate::{
    body::Body,
    storage::{
        Beat, Claim, ClaimedTask, Claims, Held, Known, Life, NewTask, Node, NodeId, Postgres,
        Settlement, Storage,
        postgres::{connection::Sql, node, row::get},
    },
    verdict::Verdict,
};

/// A storage with so many tasks in it.
async fn storing(tasks: usize) -> Option<Postgres> {
    let (options, url) = fresh()?;
    let postgres = options.connect(url).await.unwrap();
    let tasks = (0..tasks).map(|_| NewTask::new("mail", Body::json(&()).unwrap()));
    postgres.enqueue(tasks.collect()).await.unwrap();
    Some(postgres)
}

/// As if all looks had waded.
fn waded(postgres: &Postgres, nodes: &[NodeId]) {
    let mut holders = postgres.0.site.holders();
    let long = Duration::from_secs(100);
    nodes.iter().for_each(|node| holders.found_all_of(*node, long, 0));
    holders.looked_everywhere(long, 0);
}

async fn join(postgres: &Postgres) -> NodeId {
    let node = Node::new([].into(), vec![]);
    let id = node.id;
    postgres.join(node).await.unwrap();
    id
}

async fn claim(postgres: &Postgres, node: NodeId, id: u64, tasks: usize) -> Vec<ClaimedTask> {
    let handlers: Arc<[Known]> = [Known { name: "mail".into(), version: 1 }].into();
    let claim = Claim::new(id, node, handlers, tasks).queue("default", tasks, 0);
    let claimed = postgres.claim(claim).await.unwrap().tasks;
    assert_eq!(claimed.len(), tasks);
    claimed
}

async fn complete(postgres: &Postgres, tasks: &[ClaimedTask]) {
    let ends = tasks.iter().map(|it| Settlement::new(it.id, it.lease, Verdict::Complete));
    postgres.settle(ends.collect()).await.unwrap();
}

/// By which claims a node hears that it holds something.
async fn hears(postgres: &Postgres, node: NodeId, held: &[u64], answered: u64) -> Vec<u64> {
    let mut beat = Beat::new(node);
    beat.claims = Some(Claims { held: held.to_vec(), answered });
    let mut claims: Vec<u64> =
        postgres.renew(beat).await.unwrap().iter().map(|Held { claim, .. }| *claim).collect();
    claims.sort_unstable();
    claims
}

/// How many tasks are taken over from a node. Its heart beats, and a look that is older than a beat is good for nothing.
async fn seize(postgres: &Postgres, from: NodeId, by: NodeId) -> usize {
    loop {
        let peers = postgres.peers(by).await.unwrap();
        let seen = peers.into_iter().find(|peer| peer.node == from).unwrap();
        match postgres.seize(seen, by, 10).await.unwrap().len() {
            0 => {}
            seized => return seized,
        }
    }
}

async fn sees(postgres: &Postgres, node: NodeId) -> Vec<(NodeId, bool)> {
    let peers = postgres.peers(node).await.unwrap();
    let mut seen: Vec<_> = peers.iter().map(|peer| (peer.node, peer.life != Life::Dead)).collect();
    seen.sort_unstable();
    seen
}

#[tokio::test]
async fn amid_dead_rows_a_node_hears_what_it_knows_of_at_once_and_of_the_rest_by_and_by() {
    let Some(postgres) = storing(6).await else { return };
    let (node, dead) = (join(&postgres).await, join(&postgres).await);
    for id in 1..=5 {
        claim(&postgres, node, id, 1).await;
    }
    claim(&postgres, dead, 1, 1).await;
    assert_eq!(seize(&postgres, dead, node).await, 1);
    assert_eq!(hears(&postgres, node, &[2, 4], 4).await, [0, 1, 2, 3, 4, 5], "nothing is littered");
    waded(&postgres, &[node]);
    assert_eq!(hears(&postgres, node, &[2, 4], 4).await, [0, 2, 4, 5]);
    assert_eq!(hears(&postgres, node, &[], 5).await, [0]);
    let all = postgres.renew(Beat::new(node)).await.unwrap();
    assert_eq!(all.len(), 6, "who says nothing of its claims hears of all");
    waded(&postgres, &[node]);
    postgres.0.site.holders().found_all_of(node, Duration::ZERO, 0);
    assert_eq!(hears(&postgres, node, &[], 5).await, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn amid_dead_rows_whoever_holds_something_is_seen_as_ever() {
    let Some(postgres) = storing(10).await else { return };
    let observer = join(&postgres).await;
    let [early, late, leaving] =
        [join(&postgres).await, join(&postgres).await, join(&postgres).await];
    let first = claim(&postgres, early, 1, 1).await;
    assert_eq!(sees(&postgres, observer).await, [(early, true)]);
    waded(&postgres, &[]);
    claim(&postgres, early, 2, 1).await;
    complete(&postgres, &first).await;
    claim(&postgres, late, 7, 1).await;
    assert_eq!(sees(&postgres, observer).await, [(early, true), (late, true)]);
    let second = claim(&postgres, leaving, 1, 1).await;
    // Not by the ring: who did not hear of it knows of the node from before.
    postgres.leave(leaving).await.unwrap();
    waded(&postgres, &[]);
    assert_eq!(sees(&postgres, observer).await, [(early, true), (late, true), (leaving, false)]);
    assert_eq!(seize(&postgres, leaving, late).await, second.len());
    assert_eq!(sees(&postgres, observer).await, [(early, true), (late, true)]);
    // What is taken over is held by no claim, in front of all others.
    let third = claim(&postgres, leaving, 2, 1).await;
    let idle = join(&postgres).await;
    assert_eq!(seize(&postgres, early, idle).await, 1);
    let seen = [(late, true), (idle, true)];
    assert_eq!(sees(&postgres, observer).await, seen, "one of whom nobody knows, not yet");
    // Whoever leaves tells it, and then all is looked through.
    postgres.leave(leaving).await.unwrap();
    let mut all = [seen[0], seen[1], (leaving, false)];
    all.sort_unstable();
    assert_eq!(sees(&postgres, observer).await, all);
    assert_eq!(third.len(), 1);
}

/// How many pages a statement touches.
async fn pages(postgres: &Postgres, sql: &Sql, values: &str) -> i64 {
    let conn = session(postgres).await;
    let types: Vec<&str> = sql.types.iter().map(tokio_postgres::types::Type::name).collect();
    conn.script(&format!("PREPARE it({}) AS {}", types.join(", "), sql.text)).await.unwrap();
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) EXECUTE it({values})");
    conn.ask(&explain, &[]).await.unwrap();
    let rows = conn.ask(&explain, &[]).await.unwrap();
    let lines: Vec<String> = rows.iter().map(|row| get(row, 0).unwrap()).collect();
    let buffers = lines.iter().find(|line| line.contains("Buffers: shared")).unwrap();
    buffers.split([' ', '=']).filter_map(|word| word.parse::<i64>().ok()).sum()
}

#[tokio::test]
async fn what_a_held_snapshot_keeps_is_not_waded_through_for_what_a_node_knows() {
    let Some(postgres) = storing(3_000).await else { return };
    let (node, observer) = (join(&postgres).await, join(&postgres).await);
    // A long one, in front of all that is over.
    claim(&postgres, node, 1, 1).await;
    waded(&postgres, &[]);
    sees(&postgres, observer).await;
    let analyst = session(&postgres).await;
    analyst.script("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM lanes").await.unwrap();
    for id in 2..=28 {
        let tasks = claim(&postgres, node, id, 100).await;
        complete(&postgres, &tasks).await;
    }
    let by = pages(&postgres, &node::HELD_BY, &format!("'{node}', '{{1}}', 28")).await;
    let all = pages(&postgres, &node::HELD, &format!("'{node}'")).await;
    assert!(by < 30 && all > by * 10, "{by} pages instead of {all}");
    claim(&postgres, node, 29, 1).await;
    let from = format!("'{observer}', NULL, '{{{node}}}', '{{29}}'");
    let from = pages(&postgres, &node::PEERS_FROM, &from).await;
    let all = pages(&postgres, &node::PEERS, &format!("'{observer}', NULL")).await;
    assert!(from < 30 && all > from * 10, "{from} pages instead of {all}");
}

const BEAT: Sql =
    Sql { text: "UPDATE nodes SET beat = beat + 1 WHERE id = $1", types: &[Type::UUID] };

#[tokio::test]
async fn a_node_that_gives_a_sign_of_life_while_it_is_taken_over_keeps_its_tasks() {
    let Some(postgres) = storing(1).await else { return };
    let (silent, by) = (join(&postgres).await, join(&postgres).await);
    claim(&postgres, silent, 1, 1).await;
    let seen = postgres.peers(by).await.unwrap()[0];
    let other = session(&postgres).await;
    other.one((&Sql { text: "BEGIN", types: &[] }, &[])).await.unwrap();
    other.one((&BEAT, &[&silent])).await.unwrap();
    assert!(postgres.seize(seen, by, 10).await.unwrap().is_empty());
    other.one((&Sql { text: "COMMIT", types: &[] }, &[])).await.unwrap();
    assert_eq!(postgres.renew(Beat::new(silent)).await.unwrap().len(), 1);
}
