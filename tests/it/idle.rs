//! What a node with nothing to do asks PostgreSQL for, as the server's log has it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use evertask::{Runtime, storage::Postgres};

#[evertask::handler]
async fn idle_noop() {}

/// How a statement begins that is a sign of life, or a look at those of others.
const LIFE: [&str; 7] = [
    "UPDATE nodes SET beat",
    "BEGIN",
    "INSERT INTO nodes",
    "UPDATE tasks AS t SET begun",
    "SELECT id, lease, claim, cancel_asked",
    "COMMIT",
    "SELECT h.node, n.beat",
];

/// The statements in a log, by how they begin.
fn statements(log: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in log.lines().filter_map(|line| line.strip_prefix("evertask LOG:  ")) {
        // As in `statement: COMMIT` and `execute s7: SELECT 1`.
        let said = line
            .strip_prefix("statement: ")
            .or_else(|| line.strip_prefix("execute ")?.split_once(": ").map(|(_name, said)| said));
        if let Some(said) = said {
            let life = LIFE.iter().find(|life| said.starts_with(**life));
            let begins = life.map_or_else(|| said.to_owned(), |life| (*life).to_owned());
            *counts.entry(begins).or_default() += 1;
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_nothing_to_do_gives_signs_of_life_and_asks_for_nothing_else() {
    let Some(server) = evertask_servers::own_postgres() else { return };
    server.log_statements();
    let storage = Postgres::connect(server.url()).await.unwrap();
    let builder = Runtime::builder().storage(storage).discover(false).handler::<idle_noop>();
    let node = builder.lease(Duration::from_secs(1)).start().await.unwrap();
    idle_noop::dispatch().on(&node).await.unwrap().output().await.unwrap();
    let beats = |log: &str| statements(log).get(LIFE[0]).copied().unwrap_or(0);
    // By now it has looked whether there is more.
    let rest = beats(&server.log()) + 5;
    crate::until(async || beats(&server.log()) >= rest).await;
    let (before, start) = (server.log().len(), Instant::now());
    crate::until(async || beats(&server.log()[before..]) >= 25).await;
    let minutes = usize::try_from(start.elapsed().as_secs() / 60).unwrap();
    let asked = statements(&server.log()[before..]);
    let beats = asked[LIFE[0]];
    for (statement, times) in &asked {
        // A look for the sake of safety, a round of pruning.
        let most = if LIFE.contains(&&**statement) { 2 * beats } else { 1 + minutes };
        assert!(*times <= most, "{times} times beside {beats} beats: {statement}\n{asked:#?}");
    }
    node.shutdown().await.unwrap();
}
