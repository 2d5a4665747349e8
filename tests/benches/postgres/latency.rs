//! From dispatch to start, beside the least that must happen: a row is stored, told of and claimed.

use std::{
    future::poll_fn,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use evertask::TaskHandle;
use evertask_servers::Cluster;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls, Statement};

use crate::{PAYLOAD, client, connect, node};

/// So many times this many of each, at 50 a second.
const ROUNDS: usize = 20;
const TASKS: usize = 25;

#[evertask::handler(queue = "clock")]
async fn clock() -> u64 {
    now()
}

/// Microseconds since 1970; all that happens here happens on one machine.
fn now() -> u64 {
    micros(SystemTime::now())
}

fn micros(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros().try_into().unwrap_or(0))
}

/// All of it in turns of half a second, so that each meets the same disturbances from outside, and none those of another.
pub(crate) async fn latency(server: &Cluster) {
    let schema = evertask_servers::schema();
    let (node, client) = (node(server, &schema, None).await, client(server, &schema).await);
    let mut bare = Bare::new(server).await;
    let (mut across, mut within) = (Way::default(), Way::default());
    let mut floor = [const { Times(Vec::new()) }; 4];
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..ROUNDS {
        for (runtime, way) in [(&client, &mut across), (&node, &mut within)] {
            for _ in 0..TASKS {
                ticks.tick().await;
                let start = now();
                way.0.push((start, clock::dispatch().on(runtime).await.expect("stored"), now()));
            }
        }
        for _ in 0..TASKS {
            ticks.tick().await;
            let took = bare.hand_over().await;
            floor.iter_mut().zip(took).for_each(|(times, took)| times.push(took));
        }
    }
    across.say("from another process").await;
    within.say("in the same process").await;
    let parts = ["insert", "notify, until it is heard", "claim", "all three"];
    for (times, part) in floor.iter_mut().zip(parts) {
        times.say(&format!("bare {part}"));
    }
    node.shutdown().await.expect("a shutdown");
}

/// Tasks, with when their dispatch began and when it was told to be stored.
#[derive(Default)]
struct Way(Vec<(u64, TaskHandle<clock>, u64)>);

impl Way {
    async fn say(self, how: &str) {
        let mut parts = [const { Times(Vec::new()) }; 5];
        for (began, task, stored) in self.0 {
            let start = task.output().await.expect("it ran");
            let info = task.info().await.expect("it is there").expect("it is kept");
            // By the server's clock, as the statement of each begins.
            let (insert, claim) = (micros(info.created), info.started.map_or(0, micros));
            let took =
                [start - began, stored - began, insert - began, claim - insert, start - claim];
            for (times, took) in parts.iter_mut().zip(took) {
                times.push(Duration::from_micros(took));
            }
        }
        let names = [
            format!("dispatch to start, 50/s, {how}"),
            "    dispatch to stored".to_owned(),
            "    dispatch to insert".to_owned(),
            "    insert to claim".to_owned(),
            "    claim to start".to_owned(),
        ];
        parts.iter_mut().zip(names).for_each(|(times, name)| times.say(&name));
    }
}

#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    fn say(&mut self, what: &str) {
        self.0.sort_unstable();
        let at = |share: f64| self.0[(self.0.len() as f64 * share) as usize].as_secs_f64() * 1e3;
        println!("{what}: p50 {:.2} ms, p90 {:.2}, p99 {:.2}", at(0.5), at(0.9), at(0.99));
    }
}

/// Two processes that hand over rows with bare SQL.
struct Bare {
    giver: (Client, Statement),
    crier: (Client, Statement),
    taker: (Client, Statement),
    heard: mpsc::UnboundedReceiver<()>,
}

impl Bare {
    async fn new(server: &Cluster) -> Self {
        let prepared = async |sql: Client, text: &str| {
            let statement = sql.prepare(text).await.expect("a statement");
            (sql, statement)
        };
        let insert = "INSERT INTO bare (due_at, payload) VALUES (now() - interval '1 hour', $1)";
        let claim =
            "UPDATE bare SET state = 1 WHERE id = ANY(ARRAY(SELECT id FROM bare WHERE state = 0
            ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)) RETURNING id, payload";
        let (giver, taker) = (connect(server).await, connect(server).await);
        let crier = connect(server).await;
        crier.batch_execute("SET synchronous_commit = off").await.expect("set");
        let (listener, mut connection) =
            tokio_postgres::connect(&server.url(), NoTls).await.expect("a session");
        let (hear, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if matches!(message, AsyncMessage::Notification(_)) && hear.send(()).is_err() {
                    return;
                }
            }
        });
        listener.batch_execute("LISTEN bare").await.expect("listening");
        tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(listener);
        });
        Self {
            giver: prepared(giver, insert).await,
            crier: prepared(crier, "SELECT pg_notify('bare', 'due')").await,
            taker: prepared(taker, claim).await,
            heard,
        }
    }

    /// How long each part took, and all of them.
    async fn hand_over(&mut self) -> [Duration; 4] {
        let start = Instant::now();
        let (sql, insert) = &self.giver;
        sql.execute(insert, &[&PAYLOAD.as_bytes()]).await.expect("stored");
        let stored = start.elapsed();
        let (sql, notify) = &self.crier;
        let said = sql.execute(notify, &[]);
        let (said, heard) = tokio::join!(said, self.heard.recv());
        assert!(said.is_ok() && heard.is_some(), "nothing is heard");
        let heard = start.elapsed();
        let (sql, claim) = &self.taker;
        let rows = sql.query(claim, &[]).await.expect("claimed");
        assert_eq!(rows.len(), 1);
        let all = start.elapsed();
        [stored, heard - stored, all - heard, all]
    }
}
