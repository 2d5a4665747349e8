//! The layouts on PostgreSQL: array statements, one for each step.

use evertask_servers::Cluster;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

use crate::{BATCH, Layout, Outcome, PAYLOAD};

struct Postgres {
    way: &'static Way,
    tokio: Runtime,
    sql: Client,
    store: Statement,
    take: Statement,
    finish: Statement,
    held: Vec<Uuid>,
}

/// SQL of one way. To `store`, `$1` is the ids and `$2` the payloads; to `take`, `$1` is how many; to `finish`, `$1` is the ids.
struct Way {
    name: &'static str,
    schema: &'static str,
    tables: &'static str,
    store: &'static str,
    take: &'static str,
    finish: &'static str,
    /// `$1` is how many.
    fill: &'static str,
}

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
        take: "UPDATE tasks SET state = 1, lease = lease + 1, node = gen_random_uuid(), claim = 1
            WHERE id = ANY(ARRAY(SELECT id FROM tasks WHERE state = 0 AND lane = 1 ORDER BY due_at, id LIMIT $1 FOR UPDATE SKIP LOCKED))
            RETURNING id, payload",
        finish: "UPDATE tasks SET state = 2, finished_at = 1, prune_at = 1, output = 'null', node = NULL, claim = NULL WHERE id = ANY($1)",
        fill: "INSERT INTO tasks (id, lane, due_at, state, finished_at, prune_at, payload, output)
            SELECT gen_random_uuid(), 1, 0, 2, 1, 1, 'x', 'null' FROM generate_series(1, $1::bigint)",
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
        take: "UPDATE live SET state = 1, lease = lease + 1, node = gen_random_uuid(), claim = 1
            WHERE id = ANY(ARRAY(SELECT id FROM live WHERE state = 0 AND lane = 1 ORDER BY due_at, id LIMIT $1 FOR UPDATE SKIP LOCKED))
            RETURNING id, payload",
        finish: "WITH gone AS (DELETE FROM live WHERE id = ANY($1) RETURNING *)
            INSERT INTO ended SELECT id, lane, due_at, lease, 1, 1, payload, 'null' FROM gone",
        fill: "INSERT INTO ended SELECT gen_random_uuid(), 1, 0, 1, 1, 1, 'x', 'null' FROM generate_series(1, $1::bigint)",
    },
    Way {
        name: "PostgreSQL, claims apart",
        schema: "claims_apart",
        tables: "CREATE TABLE tasks (id uuid PRIMARY KEY, lane bigint NOT NULL, payload bytea NOT NULL);
            CREATE TABLE pending (lane bigint, due_at bigint, id uuid, lease bigint NOT NULL, PRIMARY KEY (lane, due_at, id));
            CREATE TABLE running (id uuid PRIMARY KEY, due_at bigint NOT NULL, lease bigint NOT NULL, node uuid, claim bigint);
            CREATE INDEX ON running (node, claim);
            CREATE TABLE ended (id uuid PRIMARY KEY, finished_at bigint, prune_at bigint, output bytea);
            CREATE INDEX ON ended (prune_at) WHERE prune_at IS NOT NULL;",
        store: "WITH given AS (SELECT * FROM unnest($1::uuid[], $2::bytea[]) AS t(id, payload)),
                stored AS (INSERT INTO tasks SELECT id, 1, payload FROM given)
            INSERT INTO pending SELECT 1, 0, id, 0 FROM given",
        take: "WITH heads AS (DELETE FROM pending WHERE (lane, due_at, id) IN (SELECT lane, due_at, id FROM pending WHERE lane = 1
                    ORDER BY due_at, id LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING *),
                taken AS (INSERT INTO running SELECT id, due_at, lease + 1, gen_random_uuid(), 1 FROM heads)
            SELECT id, payload FROM heads JOIN tasks USING (id)",
        finish: "WITH gone AS (DELETE FROM running WHERE id = ANY($1) RETURNING id)
            INSERT INTO ended SELECT id, 1, 1, 'null' FROM gone",
        fill: "WITH ids AS MATERIALIZED (SELECT gen_random_uuid() AS id FROM generate_series(1, $1::bigint)),
                stored AS (INSERT INTO tasks SELECT id, 1, 'x' FROM ids)
            INSERT INTO ended SELECT id, 1, 1, 'null' FROM ids",
    },
];

pub(crate) fn layouts(server: &Cluster) -> Outcome<Vec<Box<dyn Layout>>> {
    let mut layouts: Vec<Box<dyn Layout>> = Vec::new();
    for way in &WAYS {
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let layout = tokio.block_on(async {
            let (sql, connection) = tokio_postgres::connect(&server.url(), NoTls).await?;
            tokio::spawn(connection);
            let Way { schema, tables, .. } = way;
            let make = format!("CREATE SCHEMA {schema}; SET search_path = {schema}; {tables}");
            sql.batch_execute(&make).await?;
            let (store, take) = (sql.prepare(way.store).await?, sql.prepare(way.take).await?);
            let finish = sql.prepare(way.finish).await?;
            Outcome::Ok((sql, store, take, finish))
        });
        let (sql, store, take, finish) = layout?;
        layouts.push(Box::new(Postgres { way, tokio, sql, store, take, finish, held: Vec::new() }));
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
        let turn = async {
            self.sql.batch_execute("BEGIN").await?;
            if !held.is_empty() {
                self.sql.execute(&self.finish, &[&held]).await?;
            }
            let rows = self.sql.query(&self.take, &[&many]).await?;
            self.sql.batch_execute("COMMIT").await.map(|()| rows)
        };
        let rows = self.tokio.block_on(turn)?;
        self.held = rows.iter().map(|row| row.get(0)).collect();
        assert!(rows.iter().all(|row| row.get::<_, &[u8]>(1) == PAYLOAD), "another payload");
        Ok(self.held.len())
    }

    fn fill(&mut self, many: usize) -> Outcome {
        let many = i64::try_from(many)?;
        let fill = async {
            let fill = self.sql.prepare(self.way.fill).await?;
            self.sql.execute(&fill, &[&many]).await?;
            self.sql.batch_execute("VACUUM ANALYZE").await?;
            self.sql.batch_execute("CHECKPOINT").await
        };
        Ok(self.tokio.block_on(fill)?)
    }
}
