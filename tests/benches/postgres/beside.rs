//! What it costs that much else is stored: nothing, if it is right.

use std::time::{Duration, Instant};

use evertask_servers::Cluster;

use crate::{client, connect, fill, load, median, noop};

/// How many there are of each kind that is in the way.
const MANY: u32 = 1_000_000;
const TASKS: u64 = 60_000;

/// Storing and running beside a million that have ended, a million due later at the highest priority, and a million that no
/// node knows at the head of the line; in turns with a table that is empty.
pub(crate) async fn beside(server: &Cluster) {
    let (full, empty) = (evertask_servers::schema(), evertask_servers::schema());
    crowd(server, &full).await;
    let (mut stored, mut drained) = (Vec::new(), Vec::new());
    for round in 0..5 {
        let mut of = [(0.0, 0.0); 2];
        // Who is first is disturbed by what the one before has left to write: each is so as often.
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for at in order {
            let schema = if at == 0 { &full } else { &empty };
            let client = client(server, schema).await;
            let warm = load::store(&client, Duration::from_millis(200)).await;
            assert!(warm > 0.0, "nothing is stored");
            let stored = load::store(&client, Duration::from_secs(2)).await;
            settle(server, schema).await;
            fill(&client, TASKS).await;
            let waiting = waiting(server, schema).await;
            of[at] = (stored, load::run(server, schema, 1, Some(200), waiting).await);
            settle(server, schema).await;
        }
        let [full, empty] = of;
        println!(
            "    enqueue {:.0}/s beside {:.0}/s, drain {:.0}/s beside {:.0}/s",
            full.0, empty.0, full.1, empty.1
        );
        stored.push(full.0 / empty.0);
        drained.push(full.1 / empty.1);
    }
    println!("enqueue beside 3 million others: {:.2} of an empty table", median(stored));
    println!("drain beside 3 million others: {:.2} of an empty table", median(drained));
    prune(server, &full).await;
}

/// Fills a schema with what must not be in the way. Their ids are as those of all tasks: in the order in which they came, before
/// those that are to come.
async fn crowd(server: &Cluster, schema: &str) {
    let client = client(server, schema).await;
    // These make the lanes that are filled.
    let task = async |priority, after| {
        let task = noop::dispatch("").priority(priority).after(Duration::from_secs(after));
        task.on(&client).await.expect("stored");
    };
    task(i16::MAX, 1_000_000).await;
    task(0, 1_000_000).await;
    let sql = connect(server).await;
    sql.batch_execute(&format!(
        "SET search_path = {schema};
         CREATE FUNCTION pg_temp.id(n bigint) RETURNS uuid LANGUAGE sql AS
         $$ SELECT (lpad(to_hex(1700000000000 + n), 12, '0') || '70008' || substr(md5(random()::text), 1, 15))::uuid $$;
         INSERT INTO lanes (queue, name, version, priority, suspect) VALUES ('default', 'unknown', 1, 0, false);
         INSERT INTO tasks (id, lane, created_at, due_at, state, finished_at, prune_at, codec, payload)
         SELECT pg_temp.id(n), lane, 0, n, 2, n, 1, 0, '\"done\"'
         FROM lanes, generate_series(1, {MANY}) AS n WHERE name = 'noop' AND priority = 0;
         INSERT INTO tasks (id, lane, created_at, due_at, codec, payload)
         SELECT pg_temp.id({MANY} + n), lane, 0, 4102444800000000 + n, 0, '\"later\"'
         FROM lanes, generate_series(1, {MANY}) AS n WHERE name = 'noop' AND priority > 0;
         INSERT INTO tasks (id, lane, created_at, due_at, codec, payload)
         SELECT pg_temp.id(2 * {MANY} + n), lane, 0, n, 0, '\"whose\"'
         FROM lanes, generate_series(1, {MANY}) AS n WHERE name = 'unknown';",
    ))
    .await
    .expect("filled");
    settle(server, schema).await;
}

/// So that no round pays for what the one before has left behind.
async fn settle(server: &Cluster, schema: &str) {
    let sql = connect(server).await;
    sql.batch_execute(&format!("VACUUM ANALYZE {schema}.tasks")).await.expect("cleared");
    sql.batch_execute("CHECKPOINT").await.expect("written");
}

/// How many tasks a node will find.
async fn waiting(server: &Cluster, schema: &str) -> u64 {
    let sql = connect(server).await;
    let count = format!(
        "SELECT count(*) FROM {schema}.tasks JOIN {schema}.lanes USING (lane)
         WHERE state = 0 AND name = 'noop' AND due_at < 4102444800000000 AND due_at < extract(epoch FROM now()) * 1000000"
    );
    let count: i64 = sql.query_one(&count, &[]).await.expect("a count").get(0);
    u64::try_from(count).unwrap_or(0)
}

/// What rounds of pruning cost, while a million are out of their time: a bounded time each.
async fn prune(server: &Cluster, schema: &str) {
    use evertask::storage::Storage;
    let storage = crate::storage(server, schema).await;
    let mut took = Vec::new();
    for _ in 0..100 {
        let start = Instant::now();
        let pruned = storage.prune(1_000).await.expect("pruned");
        took.push(start.elapsed().as_secs_f64() * 1e3);
        assert_eq!(pruned.deleted, 1_000);
    }
    let slowest = took.iter().copied().fold(0.0, f64::max);
    println!("pruning 1,000 of a million: median {:.1} ms, slowest {slowest:.1} ms", median(took));
}
