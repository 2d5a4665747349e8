//! A deploy: this release and the next one, which knows one more step, on the same tables at the same time; and one after it, whose
//! step takes away what this one needs.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::storage::{
    BoxFuture, FullStorage, ManualClock, Storage, StorageErrorKind,
    conformance::Subject,
    sqlite::migrations::{self, Step},
};

/// The steps of releases to come, behind ours.
fn steps(next: &[Step]) -> &'static [Step] {
    Box::leak([migrations::STEPS, next].concat().into_boxed_slice())
}

/// What a release may add that older ones need not know: columns with a default, an index, a table.
fn expanding() -> Step {
    let version = migrations::STEPS.len() as i64 + 1;
    Step { version, oldest: 1, sql: EXPAND }
}

/// A step after which only those who know it may use the tables.
fn contracting() -> Step {
    let version = expanding().version + 1;
    Step { version, oldest: version, sql: CONTRACT }
}

const EXPAND: &str = "ALTER TABLE evertask_tasks ADD COLUMN next TEXT NOT NULL DEFAULT 'new';
    ALTER TABLE evertask_nodes ADD COLUMN next INTEGER;
    CREATE INDEX evertask_next_release ON evertask_tasks (next, due_at) WHERE state = 0;
    CREATE TABLE evertask_next_table (id BLOB PRIMARY KEY) STRICT;";
const CONTRACT: &str = "ALTER TABLE evertask_tasks DROP COLUMN spent;";

/// Each step of a law is taken by the other one of two programs: this release, and the next one, which has changed the tables
/// under it. A file belongs to one program at a time here, or nodes would have to live in both; but a session of this release has
/// been open since before.
async fn both() -> Subject {
    let place = super::Place::new();
    let clock = ManualClock::new();
    let ours = super::Sqlite::options().durable(false).clock(clock.clock());
    let file = place.file();
    let old = ours.clone().open(&file).await.unwrap();
    let theirs = ours.clone().steps(steps(&[expanding()]));
    let next = theirs.clone().open(&file).await.unwrap();
    old.enqueue(Vec::new()).await.unwrap();
    let turn = AtomicBool::new(false);
    let reopen = move |last: Arc<dyn FullStorage>| -> BoxFuture<'static, Arc<dyn FullStorage>> {
        drop(last);
        let next = turn.fetch_xor(true, Ordering::SeqCst);
        let (options, file) = (if next { &theirs } else { &ours }.clone(), file.clone());
        Box::pin(async move { Arc::new(options.open(file).await.unwrap()) as Arc<dyn FullStorage> })
    };
    Subject::new(next, clock).reopened_by(reopen).reopening_at_every_step().keeping((place, old))
}

crate::storage_conformance!(laws, super::both);

#[tokio::test]
async fn a_release_that_the_tables_have_left_behind_is_refused_and_not_before() {
    let place = super::Place::new();
    let options = super::Sqlite::options().durable(false);
    let next = options.clone().steps(steps(&[expanding()]));
    let last = options.clone().steps(steps(&[expanding(), contracting()]));
    next.clone().open(place.file()).await.unwrap();
    options
        .clone()
        .open(place.file())
        .await
        .expect("the next release leaves this one what it needs");
    last.clone().open(place.file()).await.unwrap();
    for older in [options, next] {
        let refused = older.open(place.file()).await.unwrap_err();
        assert_eq!(refused.kind(), StorageErrorKind::TooNew);
        let step = format!("step {}", contracting().version);
        assert!(refused.to_string().contains(&step), "{refused}");
        assert!(refused.to_string().contains("update this program"), "{refused}");
    }
    last.open(place.file()).await.unwrap();
}
