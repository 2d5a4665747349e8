//! The layouts on PostgreSQL: array statements, one for each step.

use evertask_servers::Cluster;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, Statement, types::ToSql};
use uuid::Uuid;

use crate::{BATCH, Layout, Outcome, PAYLOAD};

struct Postgres {
    way: &'static Way,
    tokio: Runtime,
    sql: Client,
    store: Statement,
    take: Statement,
    finish: Statement,
    prune: Statement,
    node: Uuid,
    held: Vec<Uuid>,
}

/// SQL of one way.
struct Way {
    name: &'static str,
    schema: &'static str,
    tables: &'static str,
    /// `$1` is the ids, `$2` the payloads.
    store: &'static str,
    /// `$1` is how many, `$2` who.
    take: &'static str,
    /// `$1` is the ids.
    finish: &'static str,
    /// `$1` is how many. The crowd is kept for longer.
    prune: &'static str,
    /// From the table `crowd`, of numbers, ids and payloads.
    fill: &'static str,
}

// Their ids are as those of all tasks: in the order in which they came, before those that are to come.
const CROWD: &str = "CREATE TEMP TABLE crowd AS SELECT n, payload,
        (lpad(to_hex(1700000000000 + n), 12, '0') || '70008' || substr(md5(n::text), 1, 15))::uuid AS id
    FROM generate_series(1, MANY) AS n, (SELECT convert_to('PAYLOAD', 'UTF8') AS payload) AS given";

static WAYS: [Way; 3] = [
    Way {
        name: "PostgreSQL, in place",
        schema: "in_place",
        tables: "CREATE TABLE tasks (id uuid PRIMARY KEY, lane bigint NOT NULL, state smallint NOT NULL DEFAULT 0, due_at bigint NOT NULL,
                lease bigint NOT NULL DEFAULT 0, node uuid, claim bigint, finished_at bigint, prune_at bigint, payload bytea NOT NULL,
                output bytea) WITH (fillfactor = 90);
            CREATE INDEX ON tasks (lane, due_at, id) WHERE state = 0;
            CREATE INDEX ON tasks (node, claim) WHERE state = 1;
            CREATE INDEX ON tasks (prune_at) WHERE prune_at IS NOT NULL;",
        store: "INSERT INTO tasks (id, lane, due_at, payload) SELECT id, 1, 0, payload FROM unnest($1::uuid[], $2::bytea[]) AS t(id, payload)",
        take: "UPDATE tasks SET state = 1, lease = lease + 1, node = $2, claim = 1
            WHERE ctid = ANY(ARRAY(SELECT ctid FROM tasks WHERE state = 0 AND lane = 1 ORDER BY due_at, id LIMIT $1 FOR UPDATE SKIP LOCKED))
            RETURNING id, payload",
        finish: "UPDATE tasks SET state = 2, finished_at = 1, prune_at = 1, output = 'null', node = NULL, claim = NULL WHERE id = ANY($1)",
        prune: "DELETE FROM tasks WHERE ctid = ANY(ARRAY(SELECT ctid FROM tasks WHERE prune_at <= 1 ORDER BY prune_at LIMIT $1
            FOR UPDATE SKIP LOCKED))",
        fill: "INSERT INTO tasks (id, lane, due_at, state, lease, finished_at, prune_at, payload, output)
            SELECT id, 1, n, 2, 1, n, 1000000000 + n, payload, 'null' FROM crowd",
    },
    Way {
        name: "PostgreSQL, apart",
        schema: "apart",
        tables: "CREATE TABLE live (id uuid PRIMARY KEY, lane bigint NOT NULL, state smallint NOT NULL DEFAULT 0, due_at bigint NOT NULL,
                lease bigint NOT NULL DEFAULT 0, node uuid, claim bigint, payload bytea NOT NULL) WITH (fillfactor = 90);
            CREATE INDEX ON live (lane, due_at, id) WHERE state = 0;
            CREATE INDEX ON live (node, claim) WHERE state = 1;
            CREATE TABLE ended (id uuid PRIMARY KEY, lane bigint NOT NULL, due_at bigint NOT NULL, lease bigint NOT NULL, finished_at bigint,
                prune_at bigint, payload bytea NOT NULL, output bytea);
            CREATE INDEX ON ended (prune_at) WHERE prune_at IS NOT NULL;",
        store: "INSERT INTO live (id, lane, due_at, payload) SELECT id, 1, 0, payload FROM unnest($1::uuid[], $2::bytea[]) AS t(id, payload)",
        take: "UPDATE live SET state = 1, lease = lease + 1, node = $2, claim = 1
            WHERE ctid = ANY(ARRAY(SELECT ctid FROM live WHERE state = 0 AND lane = 1 ORDER BY due_at, id LIMIT $1 FOR UPDATE SKIP LOCKED))
            RETURNING id, payload",
        finish: "WITH gone AS (DELETE FROM live WHERE id = ANY($1) RETURNING *)
            INSERT INTO ended SELECT id, lane, due_at, lease, 1, 1, payload, 'null' FROM gone",
        prune: "DELETE FROM ended WHERE ctid = ANY(ARRAY(SELECT ctid FROM ended WHERE prune_at <= 1 ORDER BY prune_at LIMIT $1
            FOR UPDATE SKIP LOCKED))",
        fill: "INSERT INTO ended SELECT id, 1, n, 1, n, 1000000000 + n, payload, 'null' FROM crowd",
    },
    Way {
        name: "PostgreSQL, claims apart",
        schema: "claims_apart",
        tables: "CREATE TABLE tasks (id uuid PRIMARY KEY, lane bigint NOT NULL, payload bytea NOT NULL);
            CREATE TABLE pending (lane bigint, due_at bigint, id uuid, lease bigint NOT NULL, PRIMARY KEY (lane, due_at, id));
            CREATE TABLE running (id uuid PRIMARY KEY, due_at bigint NOT NULL, lease bigint NOT NULL, node uuid, claim bigint);
            CREATE INDEX ON running (node, claim);
            CREATE TABLE ended (id uuid PRIMARY KEY, lease bigint NOT NULL, finished_at bigint, prune_at bigint, output bytea);
            CREATE INDEX ON ended (prune_at) WHERE prune_at IS NOT NULL;",
        store: "WITH given AS (SELECT * FROM unnest($1::uuid[], $2::bytea[]) AS t(id, payload)),
                stored AS (INSERT INTO tasks SELECT id, 1, payload FROM given)
            INSERT INTO pending SELECT 1, 0, id, 0 FROM given",
        take: "WITH heads AS (DELETE FROM pending WHERE ctid = ANY(ARRAY(SELECT ctid FROM pending WHERE lane = 1
                    ORDER BY due_at, id LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING *),
                taken AS (INSERT INTO running SELECT id, due_at, lease + 1, $2, 1 FROM heads)
            SELECT id, payload FROM heads JOIN tasks USING (id)",
        finish: "WITH gone AS (DELETE FROM running WHERE id = ANY($1) RETURNING id, lease)
            INSERT INTO ended SELECT id, lease, 1, 1, 'null' FROM gone",
        prune: "WITH gone AS (DELETE FROM ended WHERE ctid = ANY(ARRAY(SELECT ctid FROM ended WHERE prune_at <= 1 ORDER BY prune_at LIMIT $1
                FOR UPDATE SKIP LOCKED)) RETURNING id)
            DELETE FROM tasks USING gone WHERE tasks.id = gone.id",
        fill: "WITH stored AS (INSERT INTO tasks SELECT id, 1, payload FROM crowd)
            INSERT INTO ended SELECT id, 1, n, 1000000000 + n, 'null' FROM crowd",
    },
];

// As evertask's own sessions: plans are made while the tables are empty, and are to go by the indexes.
const PLANS: &str =
    "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET enable_material = off;";

pub(crate) fn layouts(server: &Cluster) -> Outcome<Vec<Box<dyn Layout>>> {
    let mut layouts: Vec<Box<dyn Layout>> = Vec::new();
    for way in &WAYS {
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let layout = tokio.block_on(async {
            let (sql, connection) = tokio_postgres::connect(&server.url(), NoTls).await?;
            tokio::spawn(connection);
            // Dead rows are cleared away at the end of a round, not in the middle of somebody else's.
            sql.batch_execute("ALTER SYSTEM SET autovacuum = off").await?;
            sql.batch_execute("SELECT pg_reload_conf()").await?;
            let Way { schema, tables, .. } = way;
            let make =
                format!("CREATE SCHEMA {schema}; SET search_path = {schema}; {tables} {PLANS}");
            sql.batch_execute(&make).await?;
            let (store, take) = (sql.prepare(way.store).await?, sql.prepare(way.take).await?);
            let (finish, prune) = (sql.prepare(way.finish).await?, sql.prepare(way.prune).await?);
            Outcome::Ok((sql, [store, take, finish, prune]))
        });
        let (sql, [store, take, finish, prune]) = layout?;
        let (node, held) = (Uuid::now_v7(), Vec::new());
        layouts.push(Box::new(Postgres {
            way,
            tokio,
            sql,
            store,
            take,
            finish,
            prune,
            node,
            held,
        }));
    }
    Ok(layouts)
}

impl Layout for Postgres {
    fn name(&self) -> &'static str {
        self.way.name
    }

    fn store(&mut self) -> Outcome {
        let ids: Vec<Uuid> = (0..BATCH).map(|_| Uuid::now_v7()).collect();
        let payloads = vec![PAYLOAD; BATCH];
        self.tokio.block_on(self.sql.execute(&self.store, &[&ids, &payloads]))?;
        Ok(())
    }

    fn turn(&mut self) -> Outcome<usize> {
        let many = i64::try_from(BATCH)?;
        let held = std::mem::take(&mut self.held);
        let rows = self.tokio.block_on(async {
            let ended: [&(dyn ToSql + Sync); 1] = [&held];
            let wish: [&(dyn ToSql + Sync); 2] = [&many, &self.node];
            // Sent together: one round trip.
            let (begun, finished, rows, committed) = tokio::join!(
                self.sql.batch_execute("BEGIN"),
                self.sql.execute(&self.finish, &ended),
                self.sql.query(&self.take, &wish),
                self.sql.batch_execute("COMMIT"),
            );
            begun.and(finished).and(committed).and(rows)
        })?;
        self.held = rows.iter().map(|row| row.get(0)).collect();
        assert!(rows.iter().all(|row| row.get::<_, &[u8]>(1) == PAYLOAD), "another payload");
        Ok(self.held.len())
    }

    fn prune(&mut self) -> Outcome<usize> {
        let many = i64::try_from(BATCH)?;
        let pruned = self.tokio.block_on(self.sql.execute(&self.prune, &[&many]))?;
        Ok(usize::try_from(pruned)?)
    }

    fn fill(&mut self, many: usize) -> Outcome {
        let crowd = CROWD.replace("MANY", &many.to_string());
        let crowd = crowd.replace("PAYLOAD", std::str::from_utf8(PAYLOAD)?);
        let fill = format!("{crowd}; {}; DROP TABLE crowd", self.way.fill);
        self.tokio.block_on(self.sql.batch_execute(&fill))?;
        self.tidy()?;
        Ok(self.tokio.block_on(self.sql.batch_execute("CHECKPOINT"))?)
    }

    /// Clears dead rows away.
    fn tidy(&mut self) -> Outcome {
        let schema = format!(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = '{}'::regnamespace",
            self.way.schema
        );
        self.tokio.block_on(async {
            let tables = self.sql.query(&schema, &[]).await?;
            let names: Vec<&str> = tables.iter().map(|row| row.get(0)).collect();
            let vacuum = format!("VACUUM ANALYZE {}", names.join(", "));
            Ok(self.sql.batch_execute(&vacuum).await?)
        })
    }
}
