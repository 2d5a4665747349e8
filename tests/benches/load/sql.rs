//! Sessions of the benchmark's own on the servers, and how many statements others have sent.

use evertask_servers::{Cluster, Mariadb};
use mysql_async::{Conn, Opts, prelude::Queryable};
use tokio_postgres::{Client, NoTls};

use crate::{Outcome, subject::Subject};

pub(crate) async fn postgres(server: &Cluster) -> Outcome<Client> {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

pub(crate) async fn mariadb(server: &Mariadb) -> Outcome<Conn> {
    Ok(Conn::new(Opts::from_url(&server.url())?).await?)
}

/// How many statements a server has been sent; `None` where there is no server. From the first time on PostgreSQL writes each into
/// its log, so that its speed is not to be measured any more.
pub(crate) async fn statements(subject: &Subject) -> Outcome<Option<u64>> {
    match subject {
        Subject::Memory | Subject::Sqlite(_) => Ok(None),
        Subject::Postgres(server) => {
            server.log_statements();
            let log = server.log();
            let said =
                |line: &&str| line.contains("LOG:  statement:") || line.contains("LOG:  execute ");
            Ok(Some(log.lines().filter(said).count() as u64))
        }
        Subject::Mariadb(server) => {
            let mut conn = mariadb(server).await?;
            let row: Option<(String, u64)> =
                conn.query_first("SHOW GLOBAL STATUS LIKE 'Questions'").await?;
            conn.disconnect().await?;
            Ok(row.map(|(_name, questions)| questions))
        }
    }
}
