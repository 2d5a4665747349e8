//! What a node with nothing to do asks a server for, as the server's log has it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use evertask::{
    Runtime,
    storage::{MySql, Postgres},
};
use evertask_servers::Mariadb;
use mysql_async::{Conn, Opts, prelude::Queryable};

#[evertask::handler]
async fn idle_noop() {}

/// How a statement begins that is a sign of life, or a look at those of others.
const LIFE: [&str; 2] = ["UPDATE nodes SET beat", "SELECT h.node, n.beat"];

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
        // A look for the sake of safety, a round of pruning; and each of them may be a transaction.
        let most = match &**statement {
            life if LIFE.contains(&life) => 2 * beats,
            "BEGIN" | "COMMIT" => 3 * (1 + minutes),
            _ => 1 + minutes,
        };
        assert!(*times <= most, "{times} times beside {beats} beats: {statement}\n{asked:#?}");
    }
    node.shutdown().await.unwrap();
}

/// How a statement begins that is a sign of life on MariaDB, or a look at those of others.
const LIFE_ON_MARIADB: [&str; 3] = [
    "UPDATE `evertask_nodes` SET beat",
    "SELECT id FROM `evertask_nodes`",
    "SELECT h.node, n.beat",
];

/// How a statement begins by which a node looks for what others did, as there is nobody to wake it.
const LOOK: [&str; 4] = [
    "SELECT 1 FROM `evertask_tasks` FORCE INDEX (running)",
    "SELECT lane, queue, name, version, priority, suspect FROM `evertask_lanes`",
    "SELECT 1 FROM `evertask_tasks` FORCE INDEX (pending)",
    "SELECT 1 FROM `evertask_schedules`",
];

/// The statements that a MariaDB server has carried out for others, after so many, by how they begin.
async fn carried_out(sql: &mut Conn, after: usize) -> BTreeMap<String, usize> {
    let said = "SELECT CAST(argument AS CHAR) FROM mysql.general_log WHERE command_type = 'Query'";
    let packets: Vec<String> = sql.query(said).await.unwrap();
    let mut counts = BTreeMap::new();
    // The clock that the others go by asks for nothing.
    let asks = |said: &&str| !said.starts_with("SET @evertask_now");
    for said in packets.iter().flat_map(|packet| packet.split(";\n")).filter(asks).skip(after) {
        let begins = LIFE_ON_MARIADB.iter().chain(&LOOK).find(|known| said.starts_with(**known));
        let begins = begins.map_or_else(|| said.to_owned(), |known| (*known).to_owned());
        *counts.entry(begins).or_default() += 1;
    }
    counts
}

/// A session whose own statements are not in the log that the server writes from now on.
async fn with_log(server: &Mariadb) -> Conn {
    let mut sql = Conn::new(Opts::from_url(&server.url()).unwrap()).await.unwrap();
    sql.query_drop("SET SESSION sql_log_off = 1").await.unwrap();
    sql.query_drop("SET GLOBAL log_output = 'TABLE'").await.unwrap();
    sql.query_drop("SET GLOBAL general_log = ON").await.unwrap();
    sql
}

#[tokio::test(flavor = "multi_thread")]
async fn on_mariadb_a_node_also_looks_about_once_a_second_and_asks_for_nothing_else() {
    let Some(server) = evertask_servers::own_mariadb() else { return };
    let mut sql = with_log(&server).await;
    let storage = MySql::connect(server.url()).await.unwrap();
    let builder = Runtime::builder().storage(storage).discover(false).handler::<idle_noop>();
    let node = builder.lease(Duration::from_secs(1)).start().await.unwrap();
    idle_noop::dispatch().on(&node).await.unwrap().output().await.unwrap();
    let beats = |said: &BTreeMap<String, usize>| said.get(LIFE_ON_MARIADB[0]).copied().unwrap_or(0);
    // By now it has looked whether there is more.
    let rest = beats(&carried_out(&mut sql, 0).await) + 5;
    crate::until(async || beats(&carried_out(&mut sql, 0).await) >= rest).await;
    let before = carried_out(&mut sql, 0).await.values().sum();
    let start = Instant::now();
    crate::until(async || beats(&carried_out(&mut sql, before).await) >= 25).await;
    let (asked, took) = (carried_out(&mut sql, before).await, start.elapsed());
    let beats = beats(&asked);
    // Each comes after 1.25 s that are shortened by up to a half; and one may have been under way.
    let looks = 1 + (took.as_secs_f64() / 0.625) as usize;
    let minutes = usize::try_from(took.as_secs() / 60).unwrap();
    for (said, times) in &asked {
        let most = match &**said {
            life if LIFE_ON_MARIADB.contains(&life) => 2 * beats,
            look if LOOK.contains(&look) => looks,
            // A look for the sake of safety, a round of pruning; and each of them may be a transaction.
            "START TRANSACTION" | "COMMIT" => 3 * (1 + minutes),
            _ => 1 + minutes,
        };
        assert!(*times <= most, "{times} times beside {beats} beats: {said}\n{asked:#?}");
    }
    node.shutdown().await.unwrap();
}
