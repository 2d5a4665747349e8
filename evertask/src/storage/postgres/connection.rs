//! One session of the server: how it is opened and set, and how statements are sent through it.
//!
//! Statements that belong together are sent together, without waiting for the answers in between, so a transaction costs one
//! round trip or two. No transaction is ever left open on purpose; whoever meets an error says [`roll_back`](Session::roll_back).

#[cfg(feature = "sqlx")]
use std::path::PathBuf;
use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use futures_util::future::try_join_all;
use tokio_postgres::{
    AsyncMessage, Client, Config, Row, Statement,
    types::{ToSql, Type},
};

#[cfg(feature = "sqlx")]
use super::address::Proof;
use super::{error::Fault, tls::Tls};
use crate::storage::server::{Purpose, Session};

/// A statement and the types of its parameters.
#[derive(Debug)]
pub(super) struct Sql {
    pub(super) text: &'static str,
    pub(super) types: &'static [Type],
}

/// A statement with values for its parameters.
pub(super) type Step<'a> = (&'static Sql, &'a [&'a (dyn ToSql + Sync)]);

type Sending<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, Fault>> + Send + 'a>>;

/// By these the server notices within half a minute that the machine of a client is gone, and lets go of what it has locked.
pub(super) const NOTICED: &[(&str, &str)] = &[
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "'25s'"),
];

/// How a database is reached, and how sessions on it are set.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) tls: Tls,
    /// For the other driver: what the first one's TLS was made of.
    #[cfg(feature = "sqlx")]
    pub(super) proof: (Proof, Option<PathBuf>),
    pub(super) schema: String,
    pub(super) durable: bool,
    /// Between us and the server stands something that gives each transaction another session.
    pub(super) pooled_proxy: bool,
    /// For people: the database without the password.
    pub(super) place: String,
}

impl Settings {
    /// What makes a session ours, as parameters and their values.
    fn session(&self, purpose: Purpose) -> Vec<(&'static str, String)> {
        let mut session = vec![
            // Behind a proxy somebody else's temporary tables may be in the session; named last, they are not taken for ours.
            ("search_path", format!("{}, pg_temp", quoted(&self.schema))),
            ("default_transaction_isolation", "'read committed'".to_owned()),
            ("client_min_messages", "warning".to_owned()),
            ("jit", "off".to_owned()),
        ];
        let limits: &[(&str, &str)] = match purpose {
            // Its plans are held to the indexes made for them, as they are right for any number of rows.
            Purpose::Write => &[
                // A transaction of ours takes milliseconds. One that stands still belongs to a stopped process, and what
                // it has locked is wanted by others.
                ("lock_timeout", "'5s'"),
                ("statement_timeout", "'20s'"),
                ("idle_in_transaction_session_timeout", "'10s'"),
                // A plan is made once, perhaps while a table is still empty, and has to be right when it no longer is.
                ("plan_cache_mode", "force_generic_plan"),
                ("enable_seqscan", "off"),
                ("enable_bitmapscan", "off"),
                ("enable_hashjoin", "off"),
                ("enable_mergejoin", "off"),
                ("enable_material", "off"),
            ],
            Purpose::Read => {
                &[("statement_timeout", "'20s'"), ("default_transaction_read_only", "on")]
            }
        };
        // Behind a proxy it is the proxy that would be noticed.
        let noticed = if self.pooled_proxy { &[] } else { NOTICED };
        let settings = limits.iter().chain(noticed);
        session.extend(settings.map(|(name, value)| (*name, (*value).to_owned())));
        if !self.durable {
            session.push(("synchronous_commit", "off".to_owned()));
        }
        session
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration holds a password.
        f.debug_struct("Settings").field("place", &self.place).finish_non_exhaustive()
    }
}

/// A name as it can stand in a statement.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A session. It ends when this is dropped.
pub(super) struct Connection {
    client: Client,
    /// `None` where statements cannot stay prepared.
    prepared: Option<Mutex<HashMap<&'static str, Statement>>>,
    begin: String,
    /// How often answers were waited for, apart from preparing.
    #[cfg(test)]
    trips: std::sync::atomic::AtomicUsize,
}

impl Connection {
    pub(super) async fn open(settings: &Settings, purpose: Purpose) -> Result<Self, Fault> {
        Self::open_and_hear(settings, purpose, |_| {}).await
    }

    /// Opens a session and asks something at once, which costs no round trip of its own.
    pub(super) async fn open_and_ask(
        settings: &Settings,
        purpose: Purpose,
        step: Step<'_>,
    ) -> Result<(Self, Vec<Row>), Fault> {
        let (this, first) = Self::connect(settings, purpose, |_| {}).await?;
        let rows = match &first {
            Some(set) => {
                let both = [this.send_script(set), this.send_step(step, None)];
                try_join_all(both).await?.pop().unwrap_or_default()
            }
            None => this.one(step).await?,
        };
        Ok((this, rows))
    }

    /// Opens a session and gives away what the server says by itself.
    pub(super) async fn open_and_hear(
        settings: &Settings,
        purpose: Purpose,
        hear: impl FnMut(AsyncMessage) + Send + 'static,
    ) -> Result<Self, Fault> {
        let (this, first) = Self::connect(settings, purpose, hear).await?;
        if let Some(set) = first {
            this.script(&set).await?;
        }
        Ok(this)
    }

    /// A session, and what is to be said first on it, if its settings do not go with each transaction.
    async fn connect(
        settings: &Settings,
        purpose: Purpose,
        mut hear: impl FnMut(AsyncMessage) + Send + 'static,
    ) -> Result<(Self, Option<String>), Fault> {
        #[allow(clippy::clone_on_copy, reason = "it is `Copy` only where there is no TLS")]
        let (client, mut connection) = settings.config.connect(settings.tls.clone()).await?;
        let pump = move |cx: &mut Context<'_>| {
            loop {
                match ready!(connection.poll_message(cx)) {
                    Some(Ok(message)) => hear(message),
                    // Whoever waits for an answer is told of the error, too.
                    Some(Err(_)) | None => return Poll::Ready(()),
                }
            }
        };
        tokio::spawn(std::future::poll_fn(pump));
        let session = settings.session(purpose);
        let set = |local: &str| {
            let set = |(name, value): &(&str, String)| format!("SET {local} {name} = {value};");
            session.iter().map(set).collect::<String>()
        };
        let (mut begin, mut prepared) = ("BEGIN;".to_owned(), None);
        let mut first = None;
        if settings.pooled_proxy {
            begin.push_str(&set("LOCAL"));
            begin.push_str(&set_durable(settings, "true"));
        } else {
            prepared = Some(Mutex::default());
            first = Some(set("SESSION") + &set_durable(settings, "false"));
        }
        let connection = Self {
            client,
            prepared,
            begin,
            #[cfg(test)]
            trips: Default::default(),
        };
        Ok((connection, first))
    }

    /// One statement, which is a transaction by itself.
    pub(super) async fn one(&self, step: Step<'_>) -> Result<Vec<Row>, Fault> {
        Ok(self.together(&[step]).await?.pop().unwrap_or_default())
    }

    /// Statements each of which could stand alone.
    pub(super) async fn together(&self, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>, Fault> {
        match self.prepared {
            Some(_) => self.send(None, steps, None).await,
            // The settings go with a transaction.
            None => self.whole(steps).await,
        }
    }

    /// A transaction that needs no answer before its end.
    pub(super) async fn whole(&self, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>, Fault> {
        self.send(Some(&self.begin), steps, Some("COMMIT")).await
    }

    /// Reads that see the same instant.
    pub(super) async fn snapshot(&self, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>, Fault> {
        let begin = self.begin.replacen("BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ", 1);
        self.send(Some(&begin), steps, Some("COMMIT")).await
    }

    /// Begins a transaction with these statements.
    pub(super) async fn begin(&self, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>, Fault> {
        self.send(Some(&self.begin), steps, None).await
    }

    /// Goes on in a transaction.
    pub(super) async fn go_on(&self, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>, Fault> {
        self.send(None, steps, None).await
    }

    /// Commits a transaction after these statements.
    pub(super) async fn commit(&self, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>, Fault> {
        self.send(None, steps, Some("COMMIT")).await
    }

    /// Statements without parameters.
    pub(super) async fn script(&self, text: &str) -> Result<(), Fault> {
        Ok(self.client.batch_execute(text).await?)
    }

    /// A statement made for the occasion. It is not kept.
    pub(super) async fn ask(
        &self,
        text: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, Fault> {
        if self.prepared.is_some() {
            return Ok(self.client.query_typed(text, params).await?);
        }
        self.client.batch_execute(&self.begin).await?;
        let rows = self.client.query_typed(text, params).await?;
        self.client.batch_execute("COMMIT").await?;
        Ok(rows)
    }

    /// Sends all of it at once and then waits for the answers.
    ///
    /// If a statement of a whole transaction fails, the server passes over the others, and takes the commit for a rollback.
    async fn send(
        &self,
        before: Option<&str>,
        steps: &[Step<'_>],
        after: Option<&str>,
    ) -> Result<Vec<Vec<Row>>, Fault> {
        // What has to be prepared is so before anything is sent, else it would come out of order.
        let mut statements = Vec::with_capacity(steps.len());
        for (sql, _) in steps {
            statements.push(self.prepare(sql).await?);
        }
        let mut sending = Vec::with_capacity(steps.len() + 2);
        sending.extend(before.map(|text| self.send_script(text)));
        for (step, statement) in steps.iter().zip(statements) {
            sending.push(self.send_step(*step, statement));
        }
        sending.extend(after.map(|text| self.send_script(text)));
        #[cfg(test)]
        self.trips.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Each is sent when it is polled first, which is in this order.
        let mut answers = try_join_all(sending).await?;
        if before.is_some() {
            answers.remove(0);
        }
        answers.truncate(steps.len());
        Ok(answers)
    }

    #[cfg(test)]
    pub(super) fn trips(&self) -> usize {
        self.trips.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn send_script<'a>(&'a self, text: &'a str) -> Sending<'a> {
        Box::pin(async move {
            self.client.batch_execute(text).await?;
            Ok(Vec::new())
        })
    }

    fn send_step<'a>(&'a self, step: Step<'a>, statement: Option<Statement>) -> Sending<'a> {
        let (sql, params) = step;
        match statement {
            Some(statement) => {
                Box::pin(async move { Ok(self.client.query(&statement, params).await?) })
            }
            None => {
                let typed: Vec<_> = params.iter().copied().zip(sql.types.iter().cloned()).collect();
                Box::pin(async move { Ok(self.client.query_typed(sql.text, &typed).await?) })
            }
        }
    }

    async fn prepare(&self, sql: &'static Sql) -> Result<Option<Statement>, Fault> {
        let Some(prepared) = &self.prepared else { return Ok(None) };
        let known = |kept: &Mutex<HashMap<_, Statement>>| {
            kept.lock().unwrap_or_else(PoisonError::into_inner).get(sql.text).cloned()
        };
        if let Some(statement) = known(prepared) {
            return Ok(Some(statement));
        }
        let statement = self.client.prepare_typed(sql.text, sql.types).await?;
        let mut kept = prepared.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(sql.text, statement.clone());
        Ok(Some(statement))
    }
}

impl Session for Connection {
    type Driver = tokio_postgres::Error;

    fn is_over(&self) -> bool {
        self.client.is_closed()
    }

    async fn roll_back(&mut self) -> Result<(), Fault> {
        Ok(self.client.batch_execute("ROLLBACK").await?)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("closed", &self.is_over()).finish_non_exhaustive()
    }
}

/// Promise 1: a commit that was answered survives a crash of the server. A stronger setting than ours stays as it is.
pub(super) fn set_durable(settings: &Settings, local: &str) -> String {
    if !settings.durable {
        return String::new();
    }
    format!(
        "SELECT set_config('synchronous_commit', 'on', {local}) WHERE current_setting('synchronous_commit') = 'off';"
    )
}
