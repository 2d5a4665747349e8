//! Bare SQL on MariaDB: texts of many rows, as there are no arrays to be given to a statement.

use evertask_servers::Mariadb;
use mysql_async::{Conn, prelude::Queryable};

use crate::{Outcome, sql, work::Welcome};

/// A connection that stores, claims and finishes.
pub(super) struct Session {
    conn: Conn,
    table: String,
}

pub(super) async fn create(server: &Mariadb, table: &str) -> Outcome {
    let create = format!(
        "CREATE TABLE {table} (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, state TINYINT NOT NULL DEFAULT 0,
             due_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), payload LONGBLOB NOT NULL,
             INDEX pending (state, due_at, id)) ENGINE = InnoDB"
    );
    Ok(sql::mariadb(server).await?.query_drop(create).await?)
}

impl Session {
    pub(super) async fn new(server: &Mariadb, table: &str) -> Outcome<Self> {
        let mut conn = sql::mariadb(server).await?;
        // Whoever passes over what others have locked does so with this, or the gaps between rows are locked as well.
        conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
        Ok(Self { conn, table: table.to_owned() })
    }

    pub(super) async fn store(&mut self, some: &[Welcome]) -> Outcome {
        let mut insert = format!("INSERT INTO {} (payload) VALUES ", self.table);
        for (at, task) in some.iter().enumerate() {
            insert.push_str(if at == 0 { "('" } else { ",('" });
            // There are no quotes in it but double ones.
            insert.push_str(&serde_json::to_string(task)?);
            insert.push_str("')");
        }
        Ok(self.conn.query_drop(insert).await?)
    }

    pub(super) async fn work(&mut self, batch: usize) -> Outcome<usize> {
        let table = &self.table;
        let claim = format!(
            "START TRANSACTION; SELECT id, payload FROM {table} FORCE INDEX (pending) WHERE state = 0
             ORDER BY due_at, id LIMIT {batch} FOR UPDATE SKIP LOCKED"
        );
        let mut answers = self.conn.query_iter(claim).await?;
        let _begun: Vec<mysql_async::Row> = answers.collect().await?;
        let rows: Vec<(u64, Vec<u8>)> = answers.collect().await?;
        drop(answers);
        let ids: Vec<String> = rows.iter().map(|(id, _)| id.to_string()).collect();
        if ids.is_empty() {
            self.conn.query_drop("COMMIT").await?;
            return Ok(0);
        }
        let ids = ids.join(",");
        let take = format!("UPDATE {table} SET state = 1 WHERE id IN ({ids}); COMMIT");
        self.conn.query_drop(take).await?;
        for (_, payload) in &rows {
            serde_json::from_slice::<Welcome>(payload)?.began();
        }
        let finish = format!("UPDATE {table} SET state = 2 WHERE id IN ({ids})");
        self.conn.query_drop(finish).await?;
        Ok(rows.len())
    }
}
