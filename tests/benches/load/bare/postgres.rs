//! Bare SQL on PostgreSQL.

use evertask_servers::Cluster;
use tokio_postgres::{Client, Statement};

use crate::{Outcome, sql, work::Welcome};

/// A connection that stores, claims and finishes.
pub(super) struct Session {
    sql: Client,
    insert: Statement,
    claim: Statement,
    finish: Statement,
}

pub(super) async fn create(server: &Cluster, schema: &str) -> Outcome {
    let create = format!(
        "CREATE SCHEMA {schema};
         CREATE TABLE {schema}.bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state smallint NOT NULL DEFAULT 0,
             due_at timestamptz NOT NULL DEFAULT now(), payload bytea NOT NULL);
         CREATE INDEX ON {schema}.bare (due_at, id) WHERE state = 0;"
    );
    Ok(sql::postgres(server).await?.batch_execute(&create).await?)
}

impl Session {
    pub(super) async fn new(server: &Cluster, schema: &str) -> Outcome<Self> {
        let sql = sql::postgres(server).await?;
        let insert =
            format!("INSERT INTO {schema}.bare (payload) SELECT * FROM unnest($1::bytea[])");
        let claim = format!(
            "UPDATE {schema}.bare SET state = 1 WHERE id = ANY(ARRAY(SELECT id FROM {schema}.bare WHERE state = 0
                 ORDER BY due_at, id LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING id, payload"
        );
        let finish = format!("UPDATE {schema}.bare SET state = 2 WHERE id = ANY($1)");
        Ok(Self {
            insert: sql.prepare(&insert).await?,
            claim: sql.prepare(&claim).await?,
            finish: sql.prepare(&finish).await?,
            sql,
        })
    }

    pub(super) async fn store(&mut self, some: &[Welcome]) -> Outcome {
        let payloads = some.iter().map(serde_json::to_vec).collect::<Result<Vec<_>, _>>()?;
        self.sql.execute(&self.insert, &[&payloads]).await?;
        Ok(())
    }

    pub(super) async fn work(&mut self, batch: usize) -> Outcome<usize> {
        let rows = self.sql.query(&self.claim, &[&i64::try_from(batch)?]).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let mut ids: Vec<i64> = Vec::with_capacity(rows.len());
        for row in &rows {
            ids.push(row.get(0));
            serde_json::from_slice::<Welcome>(row.get(1))?.began();
        }
        self.sql.execute(&self.finish, &[&ids]).await?;
        Ok(rows.len())
    }
}
