//! How a database is to be used.

use std::{sync::Arc, time::Duration};

use super::{
    MySql,
    address::Address,
    connection::{Connection, Settings},
    error::Fault,
    migrations::{self, Step},
    safety,
    script::Prefix,
    site::Site,
};
use crate::storage::{Clock, StorageError, StorageErrorKind, server::Transition};

/// The longest prefix in bytes: with what comes after it, it has to be the name of a table.
const PREFIX_MAX: usize = 50;
/// How often one may look for what other processes did.
const LOOK: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));

/// How to use a database with [`MySql`].
#[derive(Debug, Clone)]
#[must_use]
pub struct MySqlOptions {
    prefix: String,
    auto_migrate: bool,
    durable: bool,
    readers: u32,
    look_every: Duration,
    clock: Option<Clock>,
    /// What it may do to the tables; other than ours only in tests, which are other releases there.
    steps: &'static [Step],
}

impl Default for MySqlOptions {
    fn default() -> Self {
        Self {
            prefix: "evertask_".to_owned(),
            auto_migrate: true,
            durable: true,
            readers: 4,
            look_every: Duration::from_secs(1),
            clock: None,
            steps: migrations::STEPS,
        }
    }
}

impl MySqlOptions {
    /// What the names of all tables begin with; the default is `evertask_`. Applications that name different ones never see each
    /// other's tasks, in one database as in several.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// False: the tables are not made or changed, only looked at, and an error says what SQL is to be run. The default is true.
    /// See [`MySql::migrations_sql`]; `cargo run -p evertask --example migrations --features postgres,mysql -- mysql` in a copy of
    /// evertask prints it.
    ///
    /// Who makes the tables needs `CREATE`, `ALTER` and `INDEX` on them besides what who uses them needs:
    ///
    /// ```sql
    /// GRANT SELECT, INSERT, UPDATE, DELETE ON tasks.* TO app@'%';
    /// ```
    pub fn auto_migrate(mut self, auto_migrate: bool) -> Self {
        self.auto_migrate = auto_migrate;
        self
    }

    /// False: a crash of the server may take the last commits with it, if it is set so. The default is true, and then a server
    /// that does not sync its commits is refused.
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// How many connections read for people at the same time, 1 to 64. The default is 4; they are opened when needed.
    ///
    /// Besides them there are up to nine: one each to store, to claim and to settle tasks, one for what is between, one for
    /// cancels and pruning, one for signs of life, one that looks for orders, one that sleeps until another process wakes it, and one
    /// that wakes others.
    pub fn readers(mut self, readers: u32) -> Self {
        self.readers = readers;
        self
    }

    /// How often to look for what other processes did, since the server tells nobody: 10 ms to a minute, more or less. The
    /// default is a second. What is done in this process is known at once, and a node that waits for tasks is woken within milliseconds
    /// by what is stored in other processes, if they use the same account and server, without a proxy: they end its sleep with
    /// `KILL QUERY`. What it is not woken for has to wait for a look: the end of a task that runs elsewhere, a task that is due later, what is
    /// stored in a transaction of the caller's.
    pub fn look_every(mut self, look_every: Duration) -> Self {
        self.look_every = look_every;
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
    /// As for [`MySql::connect`].
    pub async fn connect(self, url: impl AsRef<str>) -> Result<MySql, StorageError> {
        let wrong = |why: String| {
            let message = format!("cannot open the storage: {why}");
            StorageError::new(StorageErrorKind::Rejected, message)
        };
        let prefix = self.prefix;
        if prefix.len() > PREFIX_MAX || prefix.contains(['.', '/', '\\']) || !prefix.is_ascii() {
            let why = format!(
                "the prefix of tables has at most {PREFIX_MAX} letters, digits and other signs of ASCII, without `.`, `/` and `\\`: \
                 {prefix:?} has not"
            );
            return Err(wrong(why));
        }
        if prefix.contains(|char: char| char.is_control()) {
            return Err(wrong(format!("the prefix {prefix:?} holds a control character")));
        }
        let Address { opts, place } = Address::read(url.as_ref())
            // Without the url itself, which may hold a password.
            .map_err(|why| wrong(format!("the url is none for MySQL: {why}")))?;
        let settings = Settings { opts, prefix: Prefix::new(prefix), durable: self.durable, place };
        let site = Arc::new(Site::new(Arc::new(settings), self.clock));
        let look_every = self.look_every.clamp(LOOK.0, LOOK.1);
        MySql::open(
            site,
            Open { auto_migrate: self.auto_migrate, steps: self.steps },
            self.readers,
            look_every,
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
