//! What is done to a server, whichever it is.

use evertask_servers::{Cluster, Mariadb};
use mysql_async::{Conn, Opts, prelude::Queryable};
use tokio_postgres::{Client, NoTls};

use crate::wire::Target;

/// A database server that a test may mistreat.
pub(crate) trait Server: Send + Sync + 'static {
    /// How nodes reach it directly.
    fn url(&self) -> String;

    /// How they reach it by a port of this machine that leads to it.
    fn url_at(&self, port: u16) -> String;

    /// Where it listens.
    fn target(&self) -> Target;

    /// Makes it write to its log until that is refused.
    fn fill_log(&self) -> impl Future<Output = ()> + Send;

    /// It can be connected to.
    fn is_up(&self) -> bool;

    /// Ends it as a crash would.
    fn crash(&self);

    /// Starts it again.
    fn restart(&self);

    /// Ends all sessions but the one that asks for it; how many there were.
    fn end_sessions(&self) -> impl Future<Output = usize> + Send;
}

impl Server for Cluster {
    fn url(&self) -> String {
        self.url()
    }

    fn url_at(&self, port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/postgres")
    }

    fn target(&self) -> Target {
        Target::Unix(self.socket())
    }

    fn is_up(&self) -> bool {
        self.is_up()
    }

    fn crash(&self) {
        self.crash();
    }

    fn restart(&self) {
        self.restart();
    }

    async fn end_sessions(&self) -> usize {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        connect(self).await.query(end, &[]).await.unwrap().len()
    }

    async fn fill_log(&self) {
        let client = connect(self).await;
        // Each begins another file of the log, for which there is no room sooner or later.
        let next = "SELECT pg_logical_emit_message(false, 'full', 'full'), pg_switch_wal()";
        while client.query(next, &[]).await.is_ok() {}
    }
}

async fn connect(server: &Cluster) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Server for Mariadb {
    fn url(&self) -> String {
        self.url()
    }

    fn url_at(&self, port: u16) -> String {
        format!("mysql://root@127.0.0.1:{port}/evertask")
    }

    fn target(&self) -> Target {
        Target::Unix(self.socket())
    }

    fn is_up(&self) -> bool {
        self.is_up()
    }

    fn crash(&self) {
        self.crash();
    }

    fn restart(&self) {
        self.restart();
    }

    async fn end_sessions(&self) -> usize {
        let mut conn = session(self).await;
        let others = "SELECT id FROM information_schema.processlist
            WHERE db IS NOT NULL AND id <> CONNECTION_ID()";
        let others: Vec<u64> = conn.query(others).await.unwrap();
        for id in &others {
            // It may have ended meanwhile.
            let _ended = conn.query_drop(format!("KILL CONNECTION {id}")).await;
        }
        others.len()
    }

    async fn fill_log(&self) {
        // Its log has been given its room when it was made, and goes round.
    }
}

async fn session(server: &Mariadb) -> Conn {
    Conn::new(Opts::from_url(&server.url()).unwrap()).await.unwrap()
}
