//! A deploy: this release and the next one, which knows one more step, on the same tables at the same time; and one after it, whose
//! step takes away what this one needs.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::storage::{
    BoxFuture, Claim, FullStorage, ManualClock, NodeId, StorageErrorKind,
    conformance::Subject,
    mysql::migrations::{self, Step},
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

const EXPAND: &str =
    "ALTER TABLE {tasks} ADD COLUMN IF NOT EXISTS next VARBINARY(8) NOT NULL DEFAULT 'new';
ALTER TABLE {nodes} ADD COLUMN IF NOT EXISTS next BIGINT;
CREATE INDEX IF NOT EXISTS next ON {tasks} (next, due_at);
";
const CONTRACT: &str = "ALTER TABLE {tasks} DROP COLUMN IF EXISTS spent;
";

/// Each step of a law is taken by the other one of two programs which both live: this release, and the next one, which has changed
/// the tables under it.
async fn both() -> Option<Subject> {
    let (options, url) = super::fresh()?;
    let clock = ManualClock::new();
    let options = options.clock(clock.clock());
    let old: Arc<dyn FullStorage> = Arc::new(options.clone().connect(&url).await.unwrap());
    // It has everything prepared that it will use, on the tables as they were.
    old.enqueue(Vec::new()).await.unwrap();
    old.counts().await.unwrap();
    let newer = options.steps(steps(&[expanding()]));
    let next: Arc<dyn FullStorage> = Arc::new(newer.connect(&url).await.unwrap());
    let first = Arc::clone(&next);
    let turn = AtomicBool::new(false);
    let reopen = move |_last| -> BoxFuture<'static, Arc<dyn FullStorage>> {
        let storage = if turn.fetch_xor(true, Ordering::SeqCst) { &old } else { &next };
        let storage = Arc::clone(storage);
        Box::pin(async move {
            // Hears of lanes that the other one has made. A first claim would take what it knows of, and only then hear of more.
            let nobodys = Claim::new(1, NodeId::now_v7(), Arc::from(Vec::new()), 1);
            storage.claim(nobodys.queue("default", 1, 0)).await.unwrap();
            storage
        })
    };
    Some(Subject::shared(first, clock).reopened_by(reopen).reopening_at_every_step())
}

crate::storage_conformance!(laws, super::both);

#[tokio::test]
async fn a_release_that_the_tables_have_left_behind_is_refused_and_not_before() {
    let Some((options, url)) = super::fresh() else { return };
    let next = options.clone().steps(steps(&[expanding()]));
    let last = options.clone().steps(steps(&[expanding(), contracting()]));
    next.clone().connect(&url).await.unwrap();
    options.clone().connect(&url).await.expect("the next release leaves this one what it needs");
    last.clone().connect(&url).await.unwrap();
    for older in [options, next] {
        let refused = older.connect(&url).await.unwrap_err();
        assert_eq!(refused.kind(), StorageErrorKind::TooNew);
        let step = format!("step {}", contracting().version);
        assert!(refused.to_string().contains(&step), "{refused}");
        assert!(refused.to_string().contains("update this program"), "{refused}");
    }
    last.connect(&url).await.unwrap();
}
