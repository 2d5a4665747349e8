//! Sessions of the benchmark's own on the servers, and what others have sent.

use evertask_servers::{Cluster, Mariadb};
use mysql_async::{Conn, Opts, prelude::Queryable};
use tokio_postgres::{Client, NoTls};

use crate::{Outcome, rate::What};

/// What a storage has been sent so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    /// Statements; on SQLite transactions, as all of one are run beside the file.
    pub(crate) statements: u64,
    /// Transactions that did what is measured.
    pub(crate) batches: u64,
}

pub(crate) async fn postgres(server: &Cluster) -> Outcome<Client> {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

pub(crate) async fn mariadb(server: &Mariadb) -> Outcome<Conn> {
    Ok(Conn::new(Opts::from_url(&server.url())?).await?)
}

/// Sees to it that PostgreSQL counts its statements, which MariaDB does by itself.
pub(crate) async fn count_on(server: &Cluster) -> Outcome {
    let sql = postgres(server).await?;
    // Not in one transaction, as it would be if sent together.
    sql.batch_execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'").await?;
    server.crash_and_restart();
    let sql = postgres(server).await?;
    // Each run has tables of its own, and so statements of its own.
    sql.batch_execute("ALTER SYSTEM SET pg_stat_statements.max = 100000").await?;
    sql.batch_execute("CREATE EXTENSION pg_stat_statements").await?;
    server.crash_and_restart();
    Ok(())
}

pub(crate) async fn sent_to_postgres(server: &Cluster, what: What) -> Outcome<Sent> {
    let batch = match what {
        What::Store(_) | What::Bulk | What::Both(_) => "%INSERT INTO tasks (%",
        What::Drain => "%SET%state = CASE WHEN n.expired%",
    };
    let sql = postgres(server).await?;
    let count = "SELECT coalesce(sum(calls), 0)::bigint, coalesce(sum(calls) FILTER (WHERE query LIKE $1), 0)::bigint
         FROM pg_stat_statements";
    let row = sql.query_one(count, &[&batch]).await?;
    let [statements, batches] = [row.get::<_, i64>(0), row.get(1)].map(i64::unsigned_abs);
    Ok(Sent { statements, batches })
}

pub(crate) async fn sent_to_mariadb(server: &Mariadb, what: What) -> Outcome<Sent> {
    let batch = match what {
        What::Store(_) | What::Bulk | What::Both(_) => "Com_insert",
        What::Drain => "Com_commit",
    };
    let mut sql = mariadb(server).await?;
    let mut count = async |name: &str| {
        let row = sql.query_first(format!("SHOW GLOBAL STATUS LIKE '{name}'")).await?;
        let (_name, count): (String, u64) = row.ok_or("a server that does not count")?;
        Outcome::Ok(count)
    };
    let sent = Sent { statements: count("Questions").await?, batches: count(batch).await? };
    sql.disconnect().await?;
    Ok(sent)
}
