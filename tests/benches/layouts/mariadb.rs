//! The layouts on MariaDB: texts of many rows, a statement for each step.
//!
//! Here an index holds every row, also those that it is not for and in which its column is null. So there is one way more: *the rare
//! beside*, as in place, but what few tasks have (a key, an expiry, a bad end) is a row in a table of its own, and not a column.

use evertask_servers::Mariadb;
use mysql_async::{Conn, Opts, prelude::Queryable};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::{BATCH, Layout, Outcome, PAYLOAD};

struct MariadbLayout {
    way: &'static Way,
    tokio: Runtime,
    sql: Conn,
    /// As SQL.
    held: String,
}

/// SQL of one way. `IDS` stands for a list of ids, `NODE` for who claims, `PAYLOAD` for what a task is given.
struct Way {
    name: &'static str,
    database: &'static str,
    tables: &'static str,
    /// Statements, and the row of one task in each, in which `ID` stands for its id.
    store: &'static [(&'static str, &'static str)],
    /// Ids and payloads.
    heads: &'static str,
    take: &'static str,
    finish: &'static str,
    /// Ids. The crowd is kept for longer.
    stale: &'static str,
    delete: &'static str,
    /// From the table `crowd`, of numbers and ids.
    fill: &'static str,
}

// Their ids are as those of all tasks: in the order in which they came, before those that are to come.
const CROWD: &str = "CREATE TEMPORARY TABLE crowd AS
    SELECT seq AS n, UNHEX(CONCAT(LPAD(HEX(1700000000000 + seq), 12, '0'), '70008', LEFT(MD5(seq), 15))) AS id FROM seq_1_to_MANY";

static WAYS: [Way; 5] = [
    Way {
        // Who holds what, and a task's lane, are found by nothing.
        name: "MariaDB, the floor: one index, and not all that is promised",
        database: "bare",
        tables: "CREATE TABLE tasks (id BINARY(16) NOT NULL PRIMARY KEY, state TINYINT NOT NULL DEFAULT 0, due_at BIGINT NOT NULL,
                lease BIGINT NOT NULL DEFAULT 0, payload LONGBLOB NOT NULL, output LONGBLOB, INDEX pending (state, due_at, id))
                ENGINE = InnoDB ROW_FORMAT = DYNAMIC",
        store: &[("INSERT INTO tasks (id, due_at, payload) VALUES ", "(ID,0,'PAYLOAD')")],
        heads: "SELECT id, payload FROM tasks FORCE INDEX (pending) WHERE state = 0 ORDER BY due_at, id LIMIT 100 FOR UPDATE SKIP LOCKED",
        take: "UPDATE tasks SET state = 1, lease = lease + 1 WHERE id IN (IDS)",
        finish: "UPDATE tasks SET state = 2, output = 'null' WHERE id IN (IDS)",
        stale: "SELECT id FROM tasks FORCE INDEX (pending) WHERE state = 2 AND due_at = 0 LIMIT 100 FOR UPDATE SKIP LOCKED",
        delete: "DELETE FROM tasks WHERE id IN (IDS)",
        fill: "INSERT INTO tasks (id, due_at, state, lease, payload, output) SELECT id, n, 2, 1, 'PAYLOAD', 'null' FROM crowd",
    },
    Way {
        name: "MariaDB, in place",
        database: "in_place",
        // With all indexes that evertask's own table has.
        tables: "CREATE TABLE tasks (id BINARY(16) NOT NULL PRIMARY KEY, lane BIGINT NOT NULL, line BIGINT, state TINYINT NOT NULL DEFAULT 0,
                unhappy TINYINT, due_at BIGINT NOT NULL, lease BIGINT NOT NULL DEFAULT 0, node BINARY(16), claim BIGINT, finished_at BIGINT,
                lapses_at BIGINT, prune_at BIGINT, request BINARY(16), live_key VARBINARY(1604), `key` VARBINARY(800), payload LONGBLOB NOT NULL,
                output LONGBLOB, INDEX pending (line, due_at, id), INDEX running (node, claim), INDEX lapsing (lapses_at),
                INDEX ended (prune_at), INDEX unhappy (unhappy, id), UNIQUE INDEX live_keys (live_key), INDEX with_key (`key`),
                INDEX requests (request)) ENGINE = InnoDB ROW_FORMAT = DYNAMIC",
        store: &[("INSERT INTO tasks (id, lane, line, due_at, payload) VALUES ", "(ID,1,1,0,'PAYLOAD')")],
        heads: "SELECT id, payload FROM tasks FORCE INDEX (pending) WHERE line = 1 ORDER BY due_at, id LIMIT 100 FOR UPDATE SKIP LOCKED",
        take: "UPDATE tasks SET state = 1, line = NULL, lease = lease + 1, node = NODE, claim = 1 WHERE id IN (IDS)",
        finish: "UPDATE tasks SET state = 2, finished_at = 1, prune_at = 1, output = 'null', node = NULL, claim = NULL WHERE id IN (IDS)",
        stale: "SELECT id FROM tasks FORCE INDEX (ended) WHERE prune_at <= 1 ORDER BY prune_at LIMIT 100 FOR UPDATE SKIP LOCKED",
        delete: "DELETE FROM tasks WHERE id IN (IDS)",
        fill: "INSERT INTO tasks (id, lane, due_at, state, lease, finished_at, prune_at, payload, output)
            SELECT id, 1, n, 2, 1, n, 1000000000 + n, 'PAYLOAD', 'null' FROM crowd",
    },
    Way {
        name: "MariaDB, in place, the rare beside",
        database: "rare_beside",
        tables: "CREATE TABLE tasks (id BINARY(16) NOT NULL PRIMARY KEY, lane BIGINT NOT NULL, line BIGINT, state TINYINT NOT NULL DEFAULT 0,
                due_at BIGINT NOT NULL, lease BIGINT NOT NULL DEFAULT 0, node BINARY(16), claim BIGINT, finished_at BIGINT, prune_at BIGINT,
                payload LONGBLOB NOT NULL, output LONGBLOB, INDEX pending (line, due_at, id), INDEX running (node, claim),
                INDEX ended (prune_at)) ENGINE = InnoDB ROW_FORMAT = DYNAMIC",
        store: &[("INSERT INTO tasks (id, lane, line, due_at, payload) VALUES ", "(ID,1,1,0,'PAYLOAD')")],
        heads: "SELECT id, payload FROM tasks FORCE INDEX (pending) WHERE line = 1 ORDER BY due_at, id LIMIT 100 FOR UPDATE SKIP LOCKED",
        take: "UPDATE tasks SET state = 1, line = NULL, lease = lease + 1, node = NODE, claim = 1 WHERE id IN (IDS)",
        finish: "UPDATE tasks SET state = 2, finished_at = 1, prune_at = 1, output = 'null', node = NULL, claim = NULL WHERE id IN (IDS)",
        stale: "SELECT id FROM tasks FORCE INDEX (ended) WHERE prune_at <= 1 ORDER BY prune_at LIMIT 100 FOR UPDATE SKIP LOCKED",
        delete: "DELETE FROM tasks WHERE id IN (IDS)",
        fill: "INSERT INTO tasks (id, lane, due_at, state, lease, finished_at, prune_at, payload, output)
            SELECT id, 1, n, 2, 1, n, 1000000000 + n, 'PAYLOAD', 'null' FROM crowd",
    },
    Way {
        name: "MariaDB, apart",
        database: "apart",
        tables: "CREATE TABLE live (id BINARY(16) NOT NULL PRIMARY KEY, lane BIGINT NOT NULL, line BIGINT, state TINYINT NOT NULL DEFAULT 0,
                due_at BIGINT NOT NULL, lease BIGINT NOT NULL DEFAULT 0, node BINARY(16), claim BIGINT, payload LONGBLOB NOT NULL,
                INDEX pending (line, due_at, id), INDEX running (node, claim)) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
            CREATE TABLE ended (id BINARY(16) NOT NULL PRIMARY KEY, lane BIGINT NOT NULL, due_at BIGINT NOT NULL, lease BIGINT NOT NULL,
                finished_at BIGINT, prune_at BIGINT, payload LONGBLOB NOT NULL, output LONGBLOB, INDEX ended (prune_at))
                ENGINE = InnoDB ROW_FORMAT = DYNAMIC",
        store: &[("INSERT INTO live (id, lane, line, due_at, payload) VALUES ", "(ID,1,1,0,'PAYLOAD')")],
        heads: "SELECT id, payload FROM live FORCE INDEX (pending) WHERE line = 1 ORDER BY due_at, id LIMIT 100 FOR UPDATE SKIP LOCKED",
        take: "UPDATE live SET state = 1, line = NULL, lease = lease + 1, node = NODE, claim = 1 WHERE id IN (IDS)",
        finish: "INSERT INTO ended SELECT id, lane, due_at, lease, 1, 1, payload, 'null' FROM live WHERE id IN (IDS);
            DELETE FROM live WHERE id IN (IDS)",
        stale: "SELECT id FROM ended FORCE INDEX (ended) WHERE prune_at <= 1 ORDER BY prune_at LIMIT 100 FOR UPDATE SKIP LOCKED",
        delete: "DELETE FROM ended WHERE id IN (IDS)",
        fill: "INSERT INTO ended SELECT id, 1, n, 1, n, 1000000000 + n, 'PAYLOAD', 'null' FROM crowd",
    },
    Way {
        name: "MariaDB, claims apart",
        database: "claims_apart",
        tables: "CREATE TABLE tasks (id BINARY(16) NOT NULL PRIMARY KEY, lane BIGINT NOT NULL, payload LONGBLOB NOT NULL)
                ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
            CREATE TABLE pending (lane BIGINT NOT NULL, due_at BIGINT NOT NULL, id BINARY(16) NOT NULL, lease BIGINT NOT NULL,
                PRIMARY KEY (lane, due_at, id)) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
            CREATE TABLE running (id BINARY(16) NOT NULL PRIMARY KEY, due_at BIGINT NOT NULL, lease BIGINT NOT NULL, node BINARY(16),
                claim BIGINT, INDEX held (node, claim)) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
            CREATE TABLE ended (id BINARY(16) NOT NULL PRIMARY KEY, lease BIGINT NOT NULL, finished_at BIGINT, prune_at BIGINT,
                output LONGBLOB, INDEX ended (prune_at)) ENGINE = InnoDB ROW_FORMAT = DYNAMIC",
        store: &[
            ("INSERT INTO tasks (id, lane, payload) VALUES ", "(ID,1,'PAYLOAD')"),
            ("INSERT INTO pending (lane, due_at, id, lease) VALUES ", "(1,0,ID,0)"),
        ],
        heads: "SELECT STRAIGHT_JOIN p.id, t.payload FROM pending AS p JOIN tasks AS t ON t.id = p.id WHERE p.lane = 1
            ORDER BY p.due_at, p.id LIMIT 100 FOR UPDATE SKIP LOCKED",
        take: "INSERT INTO running SELECT id, due_at, lease + 1, NODE, 1 FROM pending WHERE lane = 1 AND due_at = 0 AND id IN (IDS);
            DELETE FROM pending WHERE lane = 1 AND due_at = 0 AND id IN (IDS)",
        finish: "INSERT INTO ended SELECT id, lease, 1, 1, 'null' FROM running WHERE id IN (IDS); DELETE FROM running WHERE id IN (IDS)",
        stale: "SELECT id FROM ended FORCE INDEX (ended) WHERE prune_at <= 1 ORDER BY prune_at LIMIT 100 FOR UPDATE SKIP LOCKED",
        delete: "DELETE FROM ended WHERE id IN (IDS); DELETE FROM tasks WHERE id IN (IDS)",
        fill: "INSERT INTO tasks SELECT id, 1, 'PAYLOAD' FROM crowd; INSERT INTO ended SELECT id, 1, n, 1000000000 + n, 'null' FROM crowd",
    },
];

pub(crate) fn layouts(server: &Mariadb) -> Outcome<Vec<Box<dyn Layout>>> {
    let mut layouts: Vec<Box<dyn Layout>> = Vec::new();
    for way in &WAYS {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sql = tokio.block_on(async {
            let mut sql = Conn::new(Opts::from_url(&server.url())?).await?;
            let Way { database, tables, .. } = way;
            sql.query_drop(format!("CREATE DATABASE {database}; USE {database}; {tables}")).await?;
            // As evertask's own sessions: no gaps are locked.
            sql.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
            Outcome::Ok(sql)
        })?;
        layouts.push(Box::new(MariadbLayout { way, tokio, sql, held: String::new() }));
    }
    Ok(layouts)
}

impl MariadbLayout {
    fn run(&mut self, sql: String) -> Outcome {
        Ok(self.tokio.block_on(self.sql.query_drop(sql))?)
    }

    /// Begins a transaction with the first statement, if there is one, and leaves it open; the ids that the second one finds, as SQL,
    /// and how many there are.
    fn find(&mut self, first: &str, second: &str) -> Outcome<(String, usize)> {
        let sql = format!("START TRANSACTION; {first} {second}");
        let rows = self.tokio.block_on(async {
            let mut answers = self.sql.query_iter(sql).await?;
            loop {
                let has_rows = answers.columns().is_some_and(|columns| !columns.is_empty());
                let rows: Vec<mysql_async::Row> = answers.collect().await?;
                if has_rows {
                    return Outcome::Ok(rows);
                }
            }
        })?;
        let id = |row: &mysql_async::Row| {
            let id: Vec<u8> = row.get(0).ok_or("a row without an id")?;
            Outcome::Ok(literal(&Uuid::from_slice(&id)?))
        };
        let ids = rows.iter().map(id).collect::<Outcome<Vec<_>>>()?;
        Ok((ids.join(","), rows.len()))
    }
}

fn literal(id: &Uuid) -> String {
    format!("x'{}'", id.simple())
}

fn payload() -> String {
    String::from_utf8_lossy(PAYLOAD).into_owned()
}

impl Layout for MariadbLayout {
    fn name(&self) -> &'static str {
        self.way.name
    }

    fn store(&mut self) -> Outcome {
        let ids: Vec<String> = (0..BATCH).map(|_| literal(&Uuid::now_v7())).collect();
        let mut statements = Vec::new();
        for (insert, row) in self.way.store {
            let row = row.replace("PAYLOAD", &payload());
            let rows: Vec<_> = ids.iter().map(|id| row.replace("ID", id)).collect();
            statements.push(format!("{insert}{}", rows.join(",")));
        }
        match &statements[..] {
            [one] => self.run(one.clone()),
            all => self.run(format!("START TRANSACTION; {}; COMMIT", all.join(";"))),
        }
    }

    fn turn(&mut self) -> Outcome<usize> {
        let held = std::mem::take(&mut self.held);
        let finish = match held.is_empty() {
            true => String::new(),
            false => format!("{};", self.way.finish.replace("IDS", &held)),
        };
        let (ids, many) = self.find(&finish, self.way.heads)?;
        if many > 0 {
            let node = literal(&Uuid::nil());
            let take = self.way.take.replace("NODE", &node).replace("IDS", &ids);
            self.run(format!("{take}; COMMIT"))?;
        } else {
            self.run("COMMIT".to_owned())?;
        }
        self.held = ids;
        Ok(many)
    }

    fn prune(&mut self) -> Outcome<usize> {
        let (ids, many) = self.find("", self.way.stale)?;
        match many {
            0 => self.run("COMMIT".to_owned())?,
            _ => self.run(format!("{}; COMMIT", self.way.delete.replace("IDS", &ids)))?,
        }
        Ok(many)
    }

    fn fill(&mut self, many: usize) -> Outcome {
        self.run(CROWD.replace("MANY", &many.to_string()))?;
        self.run(self.way.fill.replace("PAYLOAD", &payload()))?;
        self.run("DROP TABLE crowd".to_owned())?;
        self.tidy()
    }

    fn tidy(&mut self) -> Outcome {
        // What was deleted is cleared away by threads of the server: not in the middle of somebody else's round.
        self.run("SET GLOBAL innodb_max_purge_lag_wait = 0".to_owned())
    }
}
