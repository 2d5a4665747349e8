//! Rows of a server's tables with a value in them that evertask never wrote, by whatever hand: it is told of, nothing panics, and
//! what is stored beside them is given out and ends as ever. For SQLite's file that is a fuzz target (`task_row`).

use std::sync::Arc;

use evertask::{
    Body, Keep, TaskId, TaskState,
    storage::{
        Beat, Claim, ClaimedTask, FullStorage, Known, Life, MySql, NewTask, Node, Page, Peer,
        Postgres, Settled, Settlement, TaskFilter,
    },
    verdict::Verdict,
};
use mysql_async::prelude::Queryable;

/// What is written over a column of each kind, as literals that both servers read.
const NUMBERS: [&str; 7] = [
    "-1",
    "NULL",
    "77",
    "70000",
    "-9223372036854775808",
    "9223372036854775807",
    "4611686018427387904",
];
const TEXTS: [&str; 3] = ["NULL", "''", "'a \n b'"];
const BYTES: [&str; 2] = ["NULL", "'x'"];

/// By these a row is what it is, or lies where it lies; another one would be another task's, or nobody's.
const KEPT: [&str; 4] = ["id", "lane", "line", "state"];

/// A database, and how people change it.
struct Scene<S> {
    storage: S,
    node: Node,
    claims: u64,
}

fn known() -> Arc<[Known]> {
    [Known { name: "odd".into(), version: 1 }].into()
}

fn task() -> NewTask {
    NewTask::new("odd", Body { codec: 1, bytes: (*b"null").into() })
}

impl<S: FullStorage> Scene<S> {
    async fn new(storage: S) -> Self {
        let node = Node::new(known(), vec!["default".to_owned()]);
        storage.join(node.clone()).await.unwrap();
        Self { storage, node, claims: 0 }
    }

    /// What a node gets that says each claim again until it is answered, as it does; but not for ever.
    async fn claim(&mut self, slots: usize) -> Vec<ClaimedTask> {
        self.claims += 1;
        let claim = || Claim::new(self.claims, self.node.id, known(), slots);
        for _ in 0..3 {
            match self.storage.claim(claim().queue("default", slots, 0)).await {
                Ok(claimed) => return claimed.tasks,
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        Vec::new()
    }

    async fn store(&self) -> TaskId {
        self.storage.enqueue(vec![task()]).await.unwrap()[0].id
    }

    /// A row is written over while it waits and while it runs; beside it is one that is not.
    async fn play(&mut self, what: &str, spoil: impl AsyncFn(TaskId) -> bool) {
        let (running, held) = (self.store().await, self.claim(1).await);
        assert_eq!(held.iter().map(|task| task.id).collect::<Vec<_>>(), [running], "{what}");
        let (waits, beside) = (self.store().await, self.store().await);
        let mut spoilt = false;
        for id in [running, waits] {
            spoilt |= spoil(id).await;
        }
        // What the table itself refuses does not get in.
        if spoilt {
            let mut got = None;
            for _ in 0..2 {
                got = got.or(self.claim(10).await.into_iter().find(|task| task.id == beside));
            }
            let got = got.unwrap_or_else(|| panic!("{what}: the task beside it waits for ever"));
            let done = Settlement::new(beside, got.lease, Verdict::Complete);
            let settled = self.storage.settle(vec![done]).await;
            assert_eq!(settled.unwrap(), [Settled::Applied(TaskState::Completed)], "{what}");
            drop(self.storage.settle(vec![Settlement::new(running, 1, Verdict::Complete)]).await);
            self.storage
                .renew(Beat::new(self.node.id))
                .await
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            drop(self.storage.backlog().await.unwrap_or_else(|error| panic!("{what}: {error}")));
            drop(self.storage.counts().await.unwrap_or_else(|error| panic!("{what}: {error}")));
            for id in [running, waits] {
                drop(self.storage.task(id).await);
            }
            drop(self.storage.tasks(TaskFilter::default(), Page::default()).await);
            let by = Node::new(known(), Vec::new()).id;
            for seen in self.storage.peers(by).await.unwrap_or_default() {
                drop(self.storage.seize(seen, by, 10).await);
            }
            drop(self.storage.seize(Peer::new(by, Life::Alive), by, 10).await);
            self.storage.prune(100).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            for id in [running, waits] {
                drop(self.storage.cancel(id, Keep::Forever).await);
                drop(self.storage.revive(id).await);
            }
        }
    }
}

fn values(kind: &str) -> &'static [&'static str] {
    match kind {
        "bigint" | "integer" | "smallint" | "int" | "tinyint" => &NUMBERS,
        "text" | "varchar" | "mediumtext" | "longtext" => &TEXTS,
        "bytea" | "longblob" | "mediumblob" | "blob" | "varbinary" => &BYTES,
        "boolean" => &["true", "false"],
        _ => &["NULL"],
    }
}

#[tokio::test]
async fn a_row_of_postgres_that_makes_no_sense_holds_up_no_other() {
    let Some(server) = evertask_servers::postgres() else { return };
    let schema = evertask_servers::schema();
    let storage =
        Postgres::options().durable(false).schema(&schema).connect(server.url()).await.unwrap();
    let (client, link) =
        tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(link);
    let about = "SELECT column_name::text, data_type::text FROM information_schema.columns
        WHERE table_schema = $1 AND table_name = 'tasks'";
    let columns = client.query(about, &[&schema]).await.unwrap();
    let mut scene = Scene::new(storage).await;
    for column in &columns {
        let (name, kind): (&str, &str) = (column.get(0), column.get(1));
        for value in values(kind).iter().filter(|_| !KEPT.contains(&name)) {
            let spoil = async |id: TaskId| {
                let change = format!("UPDATE {schema}.tasks SET {name} = {value} WHERE id = $1");
                client.execute(&change, &[id.as_uuid()]).await.is_ok()
            };
            scene.play(&format!("{name} = {value}"), spoil).await;
            client.execute(&format!("DELETE FROM {schema}.tasks"), &[]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_row_of_mariadb_that_makes_no_sense_holds_up_no_other() {
    let Some(server) = evertask_servers::mariadb() else { return };
    let prefix = format!("{}_", evertask_servers::schema());
    let storage =
        MySql::options().durable(false).prefix(&prefix).connect(server.url()).await.unwrap();
    let opts = mysql_async::Opts::from_url(&server.url()).unwrap();
    let mut client = mysql_async::Conn::new(opts).await.unwrap();
    let about = "SELECT column_name, data_type FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = ?";
    let columns: Vec<(String, String)> =
        client.exec(about, (format!("{prefix}tasks"),)).await.unwrap();
    assert!(columns.len() > 20, "{columns:?}");
    let client = tokio::sync::Mutex::new(client);
    let mut scene = Scene::new(storage).await;
    for (name, kind) in &columns {
        for value in values(kind).iter().filter(|_| !KEPT.contains(&&**name)) {
            let spoil = async |id: TaskId| {
                let change = format!("UPDATE {prefix}tasks SET {name} = {value} WHERE id = ?");
                let mut client = client.lock().await;
                client.exec_drop(change, (id.as_uuid().as_bytes().to_vec(),)).await.is_ok()
            };
            scene.play(&format!("{name} = {value}"), spoil).await;
            let delete = format!("DELETE FROM {prefix}tasks");
            client.lock().await.query_drop(delete).await.unwrap();
        }
    }
}
