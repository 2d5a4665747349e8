//! What bare SQL does.

use std::time::{Duration, Instant};

use evertask_servers::Cluster;

use crate::{PAYLOAD, connect};

pub(crate) struct Floor<'s> {
    server: &'s Cluster,
}

impl<'s> Floor<'s> {
    pub(crate) async fn new(server: &'s Cluster) -> Self {
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

    /// Rows stored per second in batches of this size.
    pub(crate) async fn insert(&self, batch: usize) -> f64 {
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

    /// Rows claimed and finished per second in batches of 100.
    pub(crate) async fn work(&self, connections: usize) -> f64 {
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
