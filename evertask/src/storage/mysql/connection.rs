//! One session of the server: how it is opened and set, and how statements are sent through it.
//!
//! Statements that belong together are sent together, so a transaction costs one round trip or two. No transaction is ever
//! left open on purpose; whoever meets an error says [`roll_back`](Session::roll_back).

use std::fmt;

use mysql_async::{Conn, Opts, Row, prelude::Queryable};

use super::{
    error::{Fault, cannot_take},
    row::unsigned,
    script::{Answer, Answers, Prefix, Script},
};
use crate::storage::server::{Purpose, Session};

/// How a database is reached, and how its tables are named.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) opts: Opts,
    pub(super) prefix: Prefix,
    pub(super) durable: bool,
    /// For people: the database without the password.
    pub(super) place: String,
}

/// What makes a session ours.
fn session(purpose: Purpose) -> &'static str {
    match purpose {
            // No gaps are locked where nothing is read twice. A transaction of ours takes milliseconds: one that stands still
            // belongs to a stopped process, and what it has locked is wanted by others, tasks to be rescued perhaps: it is ended
            // after the shortest time there is. A long list of ids stays a list, and is not turned into a table to be joined in an
            // order of the server's choice.
            Purpose::Write => {
                "SET NAMES utf8mb4;
                SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', autocommit = 1,
                    wait_timeout = 604800, lock_wait_timeout = 20, innodb_lock_wait_timeout = 5
                    /*M!, max_statement_time = 20, idle_transaction_timeout = 1, in_predicate_conversion_threshold = 0 */;
                SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
                SELECT @@max_allowed_packet, CONNECTION_ID()"
            }
            Purpose::Read => {
                "SET NAMES utf8mb4;
                SET SESSION sql_mode = 'STRICT_ALL_TABLES', time_zone = '+00:00', autocommit = 1,
                    wait_timeout = 604800, lock_wait_timeout = 20
                    /*M!, max_statement_time = 20, idle_transaction_timeout = 60 */;
                SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
                SELECT @@max_allowed_packet, CONNECTION_ID()"
            }
        }
}

impl Settings {
    /// How tables are named in a session that may be in another database.
    pub(super) fn abroad(&self) -> Prefix {
        Prefix { database: self.opts.db_name().map(str::to_owned), ..self.prefix.clone() }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options hold a password.
        f.debug_struct("Settings").field("place", &self.place).finish_non_exhaustive()
    }
}

/// What the server takes at once, at most, besides some room for what stands around it.
const ROOM: usize = 16 << 10;
/// Larger parts win nothing.
const PART: usize = 4 << 20;

/// A session. It ends when this is dropped.
pub(super) struct Connection {
    conn: Conn,
    /// The longest text that the server takes.
    longest: usize,
    /// The server calls it by the number that was said when they met; a proxy has numbers of its own.
    direct: bool,
}

impl Connection {
    pub(super) async fn open(settings: &Settings, purpose: Purpose) -> Result<Self, Fault> {
        let conn = Conn::new(settings.opts.clone()).await?;
        let mut this = Self { conn, longest: 1 << 20, direct: false };
        let answers = this.send(session(purpose).as_bytes(), 4).await?;
        if let Some(row) = answers.last().and_then(|answer| answer.rows.first()) {
            this.longest = usize::try_from(unsigned(row, 0)?).unwrap_or(usize::MAX);
            this.direct = unsigned(row, 1)? == u64::from(this.id());
        }
        Ok(this)
    }

    /// The longest text that the server takes.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The longest rows that fit into one statement.
    pub(super) fn room(&self) -> usize {
        self.longest.saturating_sub(ROOM)
    }

    /// How large the parts are into which long statements are cut.
    pub(super) fn part(&self) -> usize {
        self.room().min(PART)
    }

    /// Sends statements together, as far as the server takes them so, and gives their answers.
    ///
    /// If one fails, those behind it are not carried out.
    pub(super) async fn run(&mut self, script: Script) -> Result<Answers, Fault> {
        let packets = script.packets(self.part(), self.longest);
        let packets = packets.map_err(|size| cannot_take(size, self.longest))?;
        let mut answers = Vec::new();
        for (text, count) in packets {
            answers.extend(self.send(&text, count).await?);
        }
        Ok(Answers(answers))
    }

    /// Sends one statement that comes back when it does.
    pub(super) async fn ask(&mut self, statement: &str) -> Result<Answer, Fault> {
        Ok(self.send(statement.as_bytes(), 1).await?.pop().unwrap_or_default())
    }

    /// Its number, as the server said when they met.
    pub(super) fn id(&self) -> u32 {
        self.conn.id()
    }

    /// False behind a proxy: then the number is somebody else's at the server.
    pub(super) fn is_direct(&self) -> bool {
        self.direct
    }

    /// As if there were a proxy.
    #[cfg(test)]
    pub(super) fn behind_a_proxy(self) -> Self {
        Self { direct: false, ..self }
    }

    async fn send(&mut self, text: &[u8], count: usize) -> Result<Vec<Answer>, Fault> {
        let mut result = self.conn.query_iter(text).await?;
        let mut answers = Vec::with_capacity(count);
        for _ in 0..count {
            let changed = result.affected_rows();
            let rows: Vec<Row> = result.collect().await?;
            answers.push(Answer { rows, changed });
        }
        Ok(answers)
    }
}

impl Session for Connection {
    type Driver = mysql_async::Error;

    /// The driver does not say. What an old connection meets is tried again.
    fn is_over(&self) -> bool {
        false
    }

    /// Gives back all locks, too.
    async fn roll_back(&mut self) -> Result<(), Fault> {
        self.send(b"ROLLBACK; DO RELEASE_ALL_LOCKS()", 2).await.map(drop)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.conn.id()).finish_non_exhaustive()
    }
}
