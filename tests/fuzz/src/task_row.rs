//! Rows of SQLite's tables with a value in them that evertask never wrote: an error may come of it, but no panic, and what has
//! nothing to do with the row is stored and found as ever.

use std::sync::Arc;

use arbitrary::Unstructured;
use evertask::{
    Body, Keep,
    storage::{
        Claim, Inspect as _, Known, NewTask, Node, Page, ScheduleChange, SchedulePage, ScheduleRow,
        Sqlite, Storage, TaskFilter,
    },
};
use rusqlite::{Connection, types::Value};

const TABLES: [&str; 6] = [
    "evertask_tasks",
    "evertask_payloads",
    "evertask_tags",
    "evertask_attempts",
    "evertask_nodes",
    "evertask_schedules",
];

/// Which columns are written over, and with what.
///
/// # Panics
/// If something does not hold.
pub fn task_row(data: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tasks.db");
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
    tokio.expect("an executor").block_on(async {
        let storage = Sqlite::options().durable(false).open(&path).await.expect("it is new");
        let known =
            |name: &str| -> Arc<[Known]> { [Known { name: name.into(), version: 1 }].into() };
        let node = Node::new(known("odd"), Vec::new());
        storage.join(node.clone()).await.expect("it is new");
        let task = |name: &str| NewTask::new(name, Body { codec: 1, bytes: (*b"null").into() });
        let mut first = task("odd");
        first.key = Some("k".into());
        first.tags.insert("a".to_owned(), "b".to_owned());
        let (whole, third) = (task("odd"), task("odd"));
        let ids = [first.id, whole.id, third.id];
        storage.enqueue(vec![first, whole, third]).await.expect("it is new");
        let claim = |id, name: &str, slots| {
            Claim::new(id, node.id, known(name), slots).queue("default", slots, 0)
        };
        storage.claim(claim(1, "odd", 1)).await.expect("it is new");
        let row = ScheduleRow::new("odd", "k", Body { codec: 1, bytes: (*b"{}").into() });
        let change = ScheduleChange::to(None, row);
        storage.change_schedules(vec![change]).await.expect("it is new");

        spoil(&path, &mut Unstructured::new(data));

        for id in ids {
            drop(storage.task(id).await);
        }
        drop(storage.tasks(TaskFilter::default(), Page::default()).await);
        drop((storage.counts().await, storage.backlog().await));
        drop(storage.schedules(SchedulePage::default()).await);
        drop(storage.due_schedules(known("odd"), 1, 10).await);
        let claimed = storage.claim(claim(2, "odd", 10)).await.expect("others can be claimed");
        assert!(claimed.tasks.iter().any(|task| task.id == ids[1]), "one beside it waits for ever");
        drop((storage.peers(node.id).await, storage.prune(10).await));
        for id in ids {
            drop((storage.cancel(id, Keep::Forever).await, storage.revive(id).await));
        }
        let good = task("good");
        let id = good.id;
        storage.enqueue(vec![good]).await.expect("what is stored elsewhere does not matter");
        let claimed = storage.claim(claim(3, "good", 1)).await.expect("nor here");
        assert_eq!(claimed.tasks.iter().map(|task| task.id).collect::<Vec<_>>(), [id]);
        storage.close().await;
    });
}

/// Writes over up to eight columns.
fn spoil(path: &std::path::Path, data: &mut Unstructured<'_>) {
    let connection = Connection::open(path).expect("it is there");
    connection.pragma_update(None, "synchronous", "off").expect("a setting");
    for _ in 0..data.int_in_range(1..=8).unwrap_or(1) {
        let Ok(table) = data.choose(&TABLES) else { return };
        let about = format!("SELECT name, type FROM pragma_table_info('{table}')");
        let mut about = connection.prepare(&about).expect("it is a table");
        let columns = about.query_map((), |row| Ok((row.get(0)?, row.get(1)?)));
        let columns: Vec<(String, String)> =
            columns.and_then(Iterator::collect).expect("names of columns");
        // By these a row is what it is; another one would be another task's, or nobody's.
        let columns: Vec<_> = columns
            .into_iter()
            .filter(|(name, _)| !["seq", "id", "lane"].contains(&&**name))
            .collect();
        let Ok((column, kind)) = data.choose(&columns) else { return };
        let Ok(value) = value(kind, data) else { return };
        // What the tables themselves refuse does not get in.
        let change = format!("UPDATE {table} SET {column} = ?1 WHERE rowid % 2 = 1");
        let without_rowid = format!("UPDATE {table} SET {column} = ?1");
        let _ = connection
            .execute(&change, [&value])
            .or_else(|_| connection.execute(&without_rowid, [&value]));
    }
}

fn value(kind: &str, data: &mut Unstructured<'_>) -> arbitrary::Result<Value> {
    Ok(match kind {
        "INTEGER" => match data.arbitrary()? {
            Some(small) => Value::Integer(i8::into(small)),
            None => Value::Integer(data.arbitrary()?),
        },
        "TEXT" => Value::Text(data.arbitrary()?),
        _ => Value::Blob(data.arbitrary()?),
    })
}
