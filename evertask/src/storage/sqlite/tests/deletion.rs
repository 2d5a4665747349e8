//! Deleted means deleted: a task lies in several tables, and leaves all of them.

use super::{Place, claim, number, task};
use crate::{
    policy::Keep,
    storage::{AttemptRecord, KeepBy, NewTask, NodeId, Settlement, Storage},
    task::AttemptEnd,
    verdict::Verdict,
};

const NO: KeepBy = KeepBy { completed: Keep::No, failed: Keep::No, cancelled: Keep::No };

#[tokio::test]
async fn nothing_remains_of_a_deleted_task() {
    let place = Place::new();
    let sqlite = place.open().await;
    let me = NodeId::from_u128(1);
    let tagged = || {
        let mut tagged = task("a");
        tagged.tags.insert("key".into(), "value".into());
        tagged
    };
    let tasks: Vec<NewTask> = (0..4).map(|_| tagged()).collect();
    let ids: Vec<_> = tasks.iter().map(|task| task.id).collect();
    sqlite.enqueue(tasks).await.unwrap();
    // Each has been tried before, so there is an attempt to forget.
    let after = std::time::Duration::ZERO;
    let settle = async |verdicts: [Verdict; 4], keep: KeepBy| {
        let tasks = claim(&sqlite, me, 1, &["a"], 4).await;
        let settlements = tasks.iter().zip(verdicts).map(|(task, verdict)| {
            let attempt = AttemptRecord::new(me, "1".into(), AttemptEnd::Failed, None);
            let attempt = (verdict != Verdict::Complete).then_some(attempt);
            Settlement { attempt, keep, ..Settlement::new(task.id, task.lease, verdict) }
        });
        sqlite.settle(settlements.collect()).await.unwrap();
    };
    settle([(); 4].map(|()| Verdict::Retry { after }), NO).await;
    assert_eq!(number(&sqlite, "SELECT count(*) FROM evertask_attempts").await, 4);

    sqlite.cancel(ids[3], Keep::For(after)).await.unwrap();
    let reason = "not wanted".to_owned();
    settle([Verdict::Complete, Verdict::Fail, Verdict::Cancel { reason }, Verdict::Fail], NO).await;
    assert_eq!(number(&sqlite, "SELECT count(*) FROM evertask_tasks").await, 1);
    assert_eq!(sqlite.prune(10).await.unwrap().deleted, 1);
    for (rows, table) in [
        (number(&sqlite, "SELECT count(*) FROM evertask_tasks").await, "tasks"),
        (number(&sqlite, "SELECT count(*) FROM evertask_payloads").await, "payloads"),
        (number(&sqlite, "SELECT count(*) FROM evertask_tags").await, "tags"),
        (number(&sqlite, "SELECT count(*) FROM evertask_attempts").await, "attempts"),
    ] {
        assert_eq!(rows, 0, "{table} remain");
    }
}
