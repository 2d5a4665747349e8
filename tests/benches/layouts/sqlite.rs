//! The layouts on SQLite: one statement for each row, as it is done there.

use std::path::Path;

use rusqlite::{Connection, ToSql, params};
use uuid::Uuid;

use crate::{BATCH, Layout, Outcome, PAYLOAD};

struct Sqlite {
    way: &'static Way,
    conn: Connection,
    next: i64,
    held: Vec<i64>,
}

/// SQL of one way. `?1` is the number of the task, `?2` the time, `?3` its id or its node.
struct Way {
    name: &'static str,
    tables: &'static str,
    store: &'static [&'static str],
    /// `?1` is the time, `?2` how many.
    heads: &'static str,
    take: &'static [&'static str],
    finish: &'static [&'static str],
}

const PAYLOADS: &str =
    "CREATE TABLE payloads (seq INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;";

static WAYS: [Way; 3] = [
    Way {
        name: "SQLite, in place",
        tables: "CREATE TABLE tasks (seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, lane INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0,
                due_at INTEGER NOT NULL, lease INTEGER NOT NULL DEFAULT 0, node BLOB, claim INTEGER, finished_at INTEGER,
                prune_at INTEGER, output BLOB) STRICT;
            CREATE INDEX pending ON tasks (lane, due_at, id) WHERE state = 0;
            CREATE INDEX running ON tasks (node, claim) WHERE state = 1;
            CREATE INDEX ended ON tasks (prune_at) WHERE prune_at IS NOT NULL;",
        store: &["INSERT INTO tasks (seq, id, lane, due_at) VALUES (?1, ?3, 1, ?2)"],
        heads: "SELECT seq FROM tasks INDEXED BY pending WHERE state = 0 AND lane = 1 AND due_at <= ?1 ORDER BY due_at, id LIMIT ?2",
        take: &["UPDATE tasks SET state = 1, lease = lease + 1, node = ?3, claim = ?2 WHERE seq = ?1"],
        finish: &["UPDATE tasks SET state = 2, finished_at = ?2, prune_at = ?2, output = ?3, node = NULL, claim = NULL WHERE seq = ?1"],
    },
    Way {
        name: "SQLite, apart",
        tables: "CREATE TABLE live (seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, lane INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0,
                due_at INTEGER NOT NULL, lease INTEGER NOT NULL DEFAULT 0, node BLOB, claim INTEGER) STRICT;
            CREATE INDEX pending ON live (lane, due_at, id) WHERE state = 0;
            CREATE INDEX running ON live (node, claim) WHERE state = 1;
            CREATE TABLE ended (seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, lane INTEGER NOT NULL, due_at INTEGER NOT NULL,
                lease INTEGER NOT NULL, finished_at INTEGER NOT NULL, prune_at INTEGER, output BLOB) STRICT;
            CREATE INDEX prunable ON ended (prune_at) WHERE prune_at IS NOT NULL;",
        store: &["INSERT INTO live (seq, id, lane, due_at) VALUES (?1, ?3, 1, ?2)"],
        heads: "SELECT seq FROM live INDEXED BY pending WHERE state = 0 AND lane = 1 AND due_at <= ?1 ORDER BY due_at, id LIMIT ?2",
        take: &["UPDATE live SET state = 1, lease = lease + 1, node = ?3, claim = ?2 WHERE seq = ?1"],
        finish: &[
            "INSERT INTO ended SELECT seq, id, lane, due_at, lease, ?2, ?2, ?3 FROM live WHERE seq = ?1",
            "DELETE FROM live WHERE seq = ?1",
        ],
    },
    Way {
        name: "SQLite, claims apart",
        tables: "CREATE TABLE tasks (seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, lane INTEGER NOT NULL) STRICT;
            CREATE TABLE pending (lane INTEGER NOT NULL, due_at INTEGER NOT NULL, seq INTEGER NOT NULL, lease INTEGER NOT NULL,
                PRIMARY KEY (lane, due_at, seq)) STRICT, WITHOUT ROWID;
            CREATE TABLE running (seq INTEGER PRIMARY KEY, due_at INTEGER NOT NULL, lease INTEGER NOT NULL, node BLOB, claim INTEGER) STRICT;
            CREATE INDEX held ON running (node, claim);
            CREATE TABLE ended (seq INTEGER PRIMARY KEY, finished_at INTEGER NOT NULL, prune_at INTEGER, output BLOB) STRICT;
            CREATE INDEX prunable ON ended (prune_at) WHERE prune_at IS NOT NULL;",
        store: &[
            "INSERT INTO tasks (seq, id, lane) VALUES (?1, ?3, 1)",
            "INSERT INTO pending (lane, due_at, seq, lease) VALUES (1, ?2, ?1, 0)",
        ],
        heads: "SELECT seq FROM pending WHERE lane = 1 AND due_at <= ?1 ORDER BY due_at, seq LIMIT ?2",
        take: &[
            "INSERT INTO running SELECT seq, due_at, lease + 1, ?3, ?2 FROM pending WHERE lane = 1 AND due_at = ?1 AND seq = ?1",
            "DELETE FROM pending WHERE lane = 1 AND due_at = ?1 AND seq = ?1",
        ],
        finish: &[
            "INSERT INTO ended VALUES (?1, ?2, ?2, ?3)",
            "DELETE FROM running WHERE seq = ?1",
        ],
    },
];

pub(crate) fn layouts(place: &Path) -> Outcome<Vec<Box<dyn Layout>>> {
    let mut layouts: Vec<Box<dyn Layout>> = Vec::new();
    for (n, way) in WAYS.iter().enumerate() {
        let conn = Connection::open(place.join(format!("way-{n}.db")))?;
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -16384;",
        )?;
        conn.execute_batch(PAYLOADS)?;
        conn.execute_batch(way.tables)?;
        conn.set_prepared_statement_cache_capacity(64);
        layouts.push(Box::new(Sqlite { way, conn, next: 1_000, held: Vec::new() }));
    }
    Ok(layouts)
}

impl Sqlite {
    fn each(&self, texts: &[&str], seq: i64, time: i64, bytes: &[u8]) -> Outcome {
        let values: [&dyn ToSql; 3] = [&seq, &time, &bytes];
        for text in texts {
            let mut statement = self.conn.prepare_cached(text)?;
            let used = statement.parameter_count();
            statement.execute(&values[..used])?;
        }
        Ok(())
    }

    fn new_row(&self, seq: i64) -> Outcome {
        let payload = "INSERT INTO payloads (seq, bytes) VALUES (?1, ?2)";
        self.conn.prepare_cached(payload)?.execute(params![seq, PAYLOAD])?;
        // Due in the order of their numbers, which stand for the time.
        self.each(self.way.store, seq, seq, Uuid::now_v7().as_bytes())
    }
}

impl Layout for Sqlite {
    fn name(&self) -> &'static str {
        self.way.name
    }

    fn store(&mut self) -> Outcome {
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        for _ in 0..BATCH {
            self.next += 1;
            self.new_row(self.next)?;
        }
        Ok(self.conn.execute_batch("COMMIT")?)
    }

    fn turn(&mut self) -> Outcome<usize> {
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        for seq in std::mem::take(&mut self.held) {
            self.each(self.way.finish, seq, i64::MAX, b"null")?;
        }
        let held: Vec<i64> = self
            .conn
            .prepare_cached(self.way.heads)?
            .query_map(params![i64::MAX, i64::try_from(BATCH)?], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for seq in &held {
            self.each(self.way.take, *seq, i64::MAX, Uuid::nil().as_bytes())?;
            let select = "SELECT bytes FROM payloads WHERE seq = ?1";
            let payload: Vec<u8> =
                self.conn.prepare_cached(select)?.query_row([seq], |row| row.get(0))?;
            assert_eq!(payload, PAYLOAD);
        }
        self.conn.execute_batch("COMMIT")?;
        self.held = held;
        Ok(self.held.len())
    }

    fn fill(&mut self, many: usize) -> Outcome {
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        for _ in 0..many {
            self.next += 1;
            self.new_row(self.next)?;
            self.each(self.way.take, self.next, i64::MAX, Uuid::nil().as_bytes())?;
            self.each(self.way.finish, self.next, i64::MAX, b"null")?;
        }
        Ok(self.conn.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")?)
    }
}
