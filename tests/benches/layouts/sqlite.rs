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

/// SQL of one way. `?1` is the number of the task, `?2` a time, `?3` its id, its node or its output.
struct Way {
    name: &'static str,
    tables: &'static str,
    store: &'static [&'static str],
    /// `?1` is the time, `?2` how many.
    heads: &'static str,
    take: &'static [&'static str],
    finish: &'static [&'static str],
    /// `?1` is the time, `?2` how many.
    stale: &'static str,
    delete: &'static [&'static str],
    /// From the table `crowd`, of numbers and ids.
    fill: &'static [&'static str],
}

// Apart from what changes in all of them, since SQLite writes a whole row whenever one column does.
const PAYLOADS: &str =
    "CREATE TABLE payloads (seq INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;";

// Their ids are as those of all tasks: in the order in which they came, before those that are to come.
const CROWD: &str = "CREATE TEMP TABLE crowd AS WITH RECURSIVE n(n) AS (SELECT ?1 + 1 UNION ALL SELECT n + 1 FROM n LIMIT ?2)
    SELECT n AS seq, CAST(char(1) || printf('%015d', n) AS BLOB) AS id FROM n";

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
        stale: "SELECT seq FROM tasks INDEXED BY ended WHERE prune_at <= ?1 LIMIT ?2",
        delete: &["DELETE FROM tasks WHERE seq = ?1"],
        fill: &["INSERT INTO tasks SELECT seq, id, 1, 2, seq, 1, NULL, NULL, seq, 1000000000 + seq, x'6e756c6c' FROM crowd"],
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
        stale: "SELECT seq FROM ended INDEXED BY prunable WHERE prune_at <= ?1 LIMIT ?2",
        delete: &["DELETE FROM ended WHERE seq = ?1"],
        fill: &["INSERT INTO ended SELECT seq, id, 1, seq, 1, seq, 1000000000 + seq, x'6e756c6c' FROM crowd"],
    },
    Way {
        name: "SQLite, claims apart",
        tables: "CREATE TABLE tasks (seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, lane INTEGER NOT NULL) STRICT;
            CREATE TABLE pending (lane INTEGER NOT NULL, due_at INTEGER NOT NULL, id BLOB NOT NULL, seq INTEGER NOT NULL,
                lease INTEGER NOT NULL, PRIMARY KEY (lane, due_at, id)) STRICT, WITHOUT ROWID;
            CREATE TABLE running (seq INTEGER PRIMARY KEY, due_at INTEGER NOT NULL, lease INTEGER NOT NULL, node BLOB, claim INTEGER) STRICT;
            CREATE INDEX held ON running (node, claim);
            CREATE TABLE ended (seq INTEGER PRIMARY KEY, lease INTEGER NOT NULL, finished_at INTEGER NOT NULL, prune_at INTEGER, output BLOB) STRICT;
            CREATE INDEX prunable ON ended (prune_at) WHERE prune_at IS NOT NULL;",
        store: &[
            "INSERT INTO tasks (seq, id, lane) VALUES (?1, ?3, 1)",
            "INSERT INTO pending (lane, due_at, id, seq, lease) VALUES (1, ?2, ?3, ?1, 0)",
        ],
        heads: "SELECT seq FROM pending WHERE lane = 1 AND due_at <= ?1 ORDER BY due_at, id LIMIT ?2",
        // Here, the number of a task is also when it is due.
        take: &[
            "INSERT INTO running SELECT seq, due_at, lease + 1, ?3, ?2 FROM pending WHERE lane = 1 AND due_at = ?1 AND seq = ?1",
            "DELETE FROM pending WHERE lane = 1 AND due_at = ?1 AND seq = ?1",
        ],
        finish: &[
            "INSERT INTO ended SELECT seq, lease, ?2, ?2, ?3 FROM running WHERE seq = ?1",
            "DELETE FROM running WHERE seq = ?1",
        ],
        stale: "SELECT seq FROM ended INDEXED BY prunable WHERE prune_at <= ?1 LIMIT ?2",
        delete: &["DELETE FROM ended WHERE seq = ?1", "DELETE FROM tasks WHERE seq = ?1"],
        fill: &[
            "INSERT INTO tasks SELECT seq, id, 1 FROM crowd",
            "INSERT INTO ended SELECT seq, 1, seq, 1000000000 + seq, x'6e756c6c' FROM crowd",
        ],
    },
];

/// When tasks are claimed; all are due by then.
const NOW: i64 = i64::MAX;
/// When those have ended that are to be pruned. The crowd is kept for longer.
const ENDED: i64 = 1;

pub(crate) fn layouts(place: &Path) -> Outcome<Vec<Box<dyn Layout>>> {
    let mut layouts: Vec<Box<dyn Layout>> = Vec::new();
    for (n, way) in WAYS.iter().enumerate() {
        let conn = Connection::open(place.join(format!("way-{n}.db")))?;
        // As evertask's own.
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

    fn numbers(&self, text: &str, time: i64) -> Outcome<Vec<i64>> {
        let mut select = self.conn.prepare_cached(text)?;
        let numbers = select.query_map(params![time, i64::try_from(BATCH)?], |row| row.get(0))?;
        Ok(numbers.collect::<Result<_, _>>()?)
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
            let payload = "INSERT INTO payloads (seq, bytes) VALUES (?1, ?2)";
            self.conn.prepare_cached(payload)?.execute(params![self.next, PAYLOAD])?;
            // Due in the order of their numbers, which stand for the time.
            self.each(self.way.store, self.next, self.next, Uuid::now_v7().as_bytes())?;
        }
        Ok(self.conn.execute_batch("COMMIT")?)
    }

    fn turn(&mut self) -> Outcome<usize> {
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        for seq in std::mem::take(&mut self.held) {
            self.each(self.way.finish, seq, ENDED, b"null")?;
        }
        let held = self.numbers(self.way.heads, NOW)?;
        for seq in &held {
            self.each(self.way.take, *seq, 1, Uuid::nil().as_bytes())?;
            let select = "SELECT bytes FROM payloads WHERE seq = ?1";
            let payload: Vec<u8> =
                self.conn.prepare_cached(select)?.query_row([seq], |row| row.get(0))?;
            assert_eq!(payload, PAYLOAD);
        }
        self.conn.execute_batch("COMMIT")?;
        self.held = held;
        Ok(self.held.len())
    }

    fn prune(&mut self) -> Outcome<usize> {
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        let stale = self.numbers(self.way.stale, ENDED)?;
        for seq in &stale {
            self.each(&["DELETE FROM payloads WHERE seq = ?1"], *seq, 0, b"")?;
            self.each(self.way.delete, *seq, 0, b"")?;
        }
        self.conn.execute_batch("COMMIT")?;
        Ok(stale.len())
    }

    fn fill(&mut self, many: usize) -> Outcome {
        let many = i64::try_from(many)?;
        self.conn.execute(CROWD, params![self.next, many])?;
        self.next += many;
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        self.conn.execute("INSERT INTO payloads SELECT seq, ?1 FROM crowd", [PAYLOAD])?;
        for text in self.way.fill {
            self.conn.execute(text, [])?;
        }
        let rest = "COMMIT; DROP TABLE crowd; PRAGMA wal_checkpoint(TRUNCATE)";
        Ok(self.conn.execute_batch(rest)?)
    }
}
