//! How a database is to be used.

use std::sync::Arc;
#[cfg(feature = "sqlx")]
use std::time::Duration;

#[cfg(feature = "sqlx")]
use super::sessions::Sessions;
use super::{
    Postgres,
    address::Address,
    connection::{Connection, Settings},
    error::Fault,
    migrations::{self, Step},
    safety,
    site::Site,
    tls,
};
use crate::storage::{Clock, StorageError, StorageErrorKind, server::Transition};

/// The longest name of a schema in bytes: with what is put before it, it has to be the name of a channel.
const SCHEMA_MAX: usize = 50;

/// How to use a database with [`Postgres`].
#[derive(Debug, Clone)]
#[must_use]
pub struct PostgresOptions {
    schema: String,
    auto_migrate: bool,
    durable: bool,
    pooled_proxy: bool,
    readers: u32,
    #[cfg(feature = "sqlx")]
    transactions: u32,
    #[cfg(feature = "sqlx")]
    transaction_idle_limit: Duration,
    clock: Option<Clock>,
    /// What it may do to the tables; other than ours only in tests, which are other releases there.
    steps: &'static [Step],
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            schema: "evertask".to_owned(),
            auto_migrate: true,
            durable: true,
            pooled_proxy: false,
            readers: 4,
            #[cfg(feature = "sqlx")]
            transactions: 16,
            #[cfg(feature = "sqlx")]
            transaction_idle_limit: Duration::from_secs(60),
            clock: None,
            steps: migrations::STEPS,
        }
    }
}

impl PostgresOptions {
    /// The schema that holds the tables, and nothing but them; the default is `evertask`. Applications that name different ones
    /// never see each other's tasks.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// False: the tables are not made or changed, only looked at, and an error says what SQL is to be run. The default is true.
    /// See [`Postgres::migrations_sql`]; `cargo run -p evertask --example migrations --features postgres,mysql -- postgres` in a
    /// copy of evertask prints it.
    ///
    /// Who makes the tables must be allowed to make the schema (`GRANT CREATE ON DATABASE …`), or own it. Who only uses them needs
    /// this, again after each step that makes a table:
    ///
    /// ```sql
    /// GRANT USAGE ON SCHEMA evertask TO app;
    /// GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA evertask TO app;
    /// ```
    ///
    /// Functions may be called by everyone, unless that was taken away from `PUBLIC`; then it needs `EXECUTE` on those of the
    /// schema, and on `pg_control_system()` if tasks are stored in transactions of the caller.
    pub fn auto_migrate(mut self, auto_migrate: bool) -> Self {
        self.auto_migrate = auto_migrate;
        self
    }

    /// False: a crash of the server may take the last commits with it. The default is true, and then a server that does not
    /// sync its commits is refused.
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// True: between the program and the server stands a proxy that gives each transaction another session, as pgbouncer does
    /// with `pool_mode = transaction`. Nothing is prepared or listened to then; nodes look for work once a second. The default
    /// is false.
    ///
    /// What a handler itself asks in its [`Tx`](crate::Tx) through `sqlx` should then say `.persistent(false)`, unless the proxy
    /// keeps track of prepared statements (pgbouncer from 1.21 on, with `max_prepared_statements`): they would be found by the
    /// next one who is given that session, whose statements have the same names.
    pub fn pooled_proxy(mut self, pooled_proxy: bool) -> Self {
        self.pooled_proxy = pooled_proxy;
        self
    }

    /// How many connections read for people at the same time, 1 to 64. The default is 4; they are opened when needed.
    ///
    /// Besides them there are up to seven: one each to store, to claim and to settle tasks, one for what is between, one for
    /// cancels and pruning, one for signs of life and one for notifications; and those of handlers that take a
    /// [`Tx`](crate::Tx), see `transactions`.
    pub fn readers(mut self, readers: u32) -> Self {
        self.readers = readers;
        self
    }

    /// How many handlers of this process may have a transaction of their own ([`Tx`](crate::Tx)) open at the same time. Each has
    /// a connection, of which up to eight are kept for the next ones. The default is 16; a handler that asks for one more waits
    /// until another has ended. Where processes are many, see that all of them together stay below `max_connections` of the
    /// server.
    #[cfg(feature = "sqlx")]
    pub fn transactions(mut self, transactions: u32) -> Self {
        self.transactions = transactions;
        self
    }

    /// How long nothing may happen in the transaction of a handler ([`Tx`](crate::Tx)) before the server ends it, with the
    /// attempt. The default is a minute. By this a node that is stopped, or cut off, lets go of what it has locked, so that its
    /// tasks can run elsewhere. What is slow comes before the first `get`, or happens in the database.
    #[cfg(feature = "sqlx")]
    pub fn transaction_idle_limit(mut self, limit: Duration) -> Self {
        self.transaction_idle_limit = limit;
        self
    }

    /// Where the time comes from: the server's clock by default. For tests of storages.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// As a release that knows these steps.
    #[cfg(test)]
    pub(super) fn steps(mut self, steps: &'static [Step]) -> Self {
        self.steps = steps;
        self
    }

    /// Connects, looks whether the server can keep our promises, and makes the tables if there are none.
    ///
    /// # Errors
    /// As for [`Postgres::connect`].
    pub async fn connect(self, url: impl AsRef<str>) -> Result<Postgres, StorageError> {
        let wrong =
            |kind, why: String| StorageError::new(kind, format!("cannot open the storage: {why}"));
        let schema = &self.schema;
        if schema.is_empty() || schema.len() > SCHEMA_MAX || schema.contains(char::is_control) {
            let why =
                format!("the name of a schema has 1 to {SCHEMA_MAX} bytes, `{schema}` has not");
            return Err(wrong(StorageErrorKind::Rejected, why));
        }
        // Without the url itself, which may hold a password.
        let wrong_url = |why: String| {
            let why = format!("the url is none that PostgreSQL knows: {why}");
            wrong(StorageErrorKind::Rejected, why)
        };
        let address = Address::read(url.as_ref()).map_err(wrong_url)?;
        let tls = tls::tls(&address)
            .map_err(|why| wrong(StorageErrorKind::Rejected, format!("about the url: {why}")))?;
        #[cfg(feature = "sqlx")]
        let proof = (address.proof, address.authorities);
        let (config, place) = (address.config, address.place);
        let settings = Arc::new(Settings {
            config,
            tls,
            #[cfg(feature = "sqlx")]
            proof,
            schema: self.schema,
            durable: self.durable,
            pooled_proxy: self.pooled_proxy,
            place,
        });
        let site = Arc::new(Site::new(settings, self.clock));
        let open = Open { auto_migrate: self.auto_migrate, steps: self.steps };
        #[cfg(feature = "sqlx")]
        let sessions = Sessions::new(self.transactions, self.transaction_idle_limit);
        Postgres::open(
            site,
            open,
            self.readers,
            #[cfg(feature = "sqlx")]
            sessions,
        )
        .await
    }
}

/// The first thing that is done with a database.
#[derive(Debug)]
pub(super) struct Open {
    auto_migrate: bool,
    steps: &'static [Step],
}

impl Transition<Site> for Open {
    type Answer = ();

    const DOING: &'static str = "cannot open the storage";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<(), Fault> {
        safety::check(conn, &site.settings).await?;
        migrations::run(conn, &site.settings, self.steps, self.auto_migrate).await
    }
}
