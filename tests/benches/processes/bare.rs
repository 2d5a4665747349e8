//! Two processes that hand over rows with bare SQL: as soon as the server tells, or at the next look where it tells nobody.

use std::{future::poll_fn, sync::Arc, time::Duration};

use mysql_async::prelude::Queryable;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, NoTls, Statement};

use crate::{
    now,
    place::{Kind, Place},
};

/// The process that stores.
pub(crate) enum Giver {
    Postgres(Arc<Session>, Arc<Session>),
    Mariadb(mysql_async::Pool, String),
}

/// A session with its one statement.
pub(crate) struct Session(tokio_postgres::Client, Statement);

impl Session {
    async fn new(url: &str, set: &str, statement: &str) -> Self {
        let (sql, connection) = tokio_postgres::connect(url, NoTls).await.expect("a session");
        tokio::spawn(connection);
        sql.batch_execute(set).await.expect("set");
        let statement = sql.prepare(statement).await.expect("a statement");
        Self(sql, statement)
    }
}

impl Giver {
    /// With a table for it.
    pub(crate) async fn new(place: &Place) -> Self {
        let table = table(place);
        match place.kind {
            Kind::Postgres => {
                let make = format!(
                    "CREATE TABLE {table} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                         state smallint NOT NULL DEFAULT 0, planned bigint NOT NULL);
                     CREATE INDEX ON {table} (id) WHERE state = 0"
                );
                let insert = format!("INSERT INTO {table} (planned) VALUES ($1)");
                let giver = Session::new(&place.url, &make, &insert).await;
                let notify = format!("SELECT pg_notify('{table}', 'due')");
                let crier = Session::new(&place.url, "SET synchronous_commit = off", &notify).await;
                Self::Postgres(Arc::new(giver), Arc::new(crier))
            }
            Kind::Mariadb => {
                let pool = mysql_async::Pool::new(&*place.url);
                let mut sql = pool.get_conn().await.expect("a session");
                let make = format!(
                    "CREATE TABLE {table} (id BIGINT AUTO_INCREMENT PRIMARY KEY, state SMALLINT NOT NULL DEFAULT 0,
                         planned BIGINT NOT NULL, INDEX (state, id))"
                );
                sql.query_drop(make).await.expect("a table");
                Self::Mariadb(pool, table)
            }
        }
    }

    /// Stores a row, and tells of it, without waiting for that.
    pub(crate) fn give(&self, planned: u64) {
        match self {
            Self::Postgres(giver, crier) => {
                let (giver, crier) = (Arc::clone(giver), Arc::clone(crier));
                tokio::spawn(async move {
                    giver.0.execute(&giver.1, &[&planned.cast_signed()]).await.expect("stored");
                    crier.0.execute(&crier.1, &[]).await.expect("told");
                });
            }
            Self::Mariadb(pool, table) => {
                let (pool, table) = (pool.clone(), table.clone());
                tokio::spawn(async move {
                    let mut sql = pool.get_conn().await.expect("a session");
                    let insert = format!("INSERT INTO {table} (planned) VALUES (?)");
                    sql.exec_drop(insert, (planned,)).await.expect("stored");
                });
            }
        }
    }
}

/// Takes rows, and says how long each has waited, for as long as the process lives.
pub(crate) async fn take(place: &Place, ready: impl FnOnce()) {
    match place.kind {
        Kind::Postgres => take_when_told(place, ready).await,
        Kind::Mariadb => take_by_looking(place, ready).await,
    }
}

async fn take_when_told(place: &Place, ready: impl FnOnce()) {
    let table = table(place);
    let (listener, mut connection) =
        tokio_postgres::connect(&place.url, NoTls).await.expect("a session");
    let (hear, mut heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(told)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if matches!(told, AsyncMessage::Notification(_)) && hear.send(()).is_err() {
                return;
            }
        }
    });
    listener.batch_execute(&format!("LISTEN {table}")).await.expect("listening");
    let claim = format!(
        "UPDATE {table} SET state = 1 WHERE id = ANY(ARRAY(SELECT id FROM {table} WHERE state = 0 ORDER BY id LIMIT 100
         FOR UPDATE SKIP LOCKED)) RETURNING planned"
    );
    let Session(sql, claim) = Session::new(&place.url, "", &claim).await;
    ready();
    while heard.recv().await.is_some() {
        for row in sql.query(&claim, &[]).await.expect("claimed") {
            say(row.get::<_, i64>(0).cast_unsigned());
        }
    }
}

async fn take_by_looking(place: &Place, ready: impl FnOnce()) {
    let table = table(place);
    let mut sql = mysql_async::Conn::from_url(&place.url).await.expect("a session");
    ready();
    loop {
        // Somewhat more or less, as nodes do it.
        let every = place.look_every().mul_f64(1.25 * (1.0 - fastrand::f64() / 2.0));
        tokio::time::sleep(every.max(Duration::from_millis(1))).await;
        let look = format!("SELECT 1 FROM {table} WHERE state = 0 LIMIT 1");
        if sql.query_first::<u8, _>(look).await.expect("a look").is_none() {
            continue;
        }
        let claim = format!(
            "SELECT id, planned FROM {table} WHERE state = 0 ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED"
        );
        sql.query_drop("BEGIN").await.expect("begun");
        let rows: Vec<(i64, u64)> = sql.query(claim).await.expect("locked");
        let ids: Vec<String> = rows.iter().map(|(id, _)| id.to_string()).collect();
        if !ids.is_empty() {
            let taken = format!("UPDATE {table} SET state = 1 WHERE id IN ({})", ids.join(", "));
            sql.query_drop(taken).await.expect("claimed");
        }
        sql.query_drop("COMMIT").await.expect("committed");
        rows.iter().for_each(|(_, planned)| say(*planned));
    }
}

fn say(planned: u64) {
    println!("{}", now().saturating_sub(planned));
}

fn table(place: &Place) -> String {
    format!("bare_{}", place.name)
}
