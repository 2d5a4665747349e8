//! What is larger than the server takes at once.

use super::{fresh, session, task};
use crate::{
    body::Body,
    storage::{Inspect, NewTask, Page, Storage, StorageErrorKind, TaskFilter},
};

/// A task whose payload has no two ways to be written.
fn large(bytes: usize) -> NewTask {
    NewTask { payload: Body { codec: 0, bytes: vec![0_u8; bytes].into() }, ..task() }
}

#[tokio::test]
async fn a_payload_that_the_server_does_not_take_is_refused_before_anything_happens() {
    let Some((options, url)) = fresh() else { return };
    let mysql = options.connect(&url).await.unwrap();
    let room = session(&mysql).await.room();
    let error = mysql.enqueue(vec![task(), large(room / 2)]).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Rejected);
    assert!(error.to_string().contains("`max_allowed_packet`"), "{error}");
    let stored = mysql.tasks(TaskFilter::default(), Page::default()).await.unwrap();
    assert!(stored.is_empty(), "{stored:?}");
    // Who asked beside it is not concerned, and nor is who asks afterwards.
    let asked = (0..3).map(|n| mysql.enqueue(vec![if n == 1 { large(room / 2) } else { task() }]));
    let [first, second, third] = asked.collect::<Vec<_>>().try_into().ok().unwrap();
    let (first, second, third) = tokio::join!(first, second, third);
    assert!(first.is_ok() && second.is_err() && third.is_ok());
}

#[tokio::test]
async fn a_batch_that_the_server_does_not_take_at_once_is_stored_in_parts_and_whole() {
    let Some((options, url)) = fresh() else { return };
    let mysql = options.connect(&url).await.unwrap();
    let size = session(&mysql).await.room() / 10;
    let batch: Vec<NewTask> = (0..12).map(|_| large(size)).collect();
    mysql.enqueue(batch.clone()).await.unwrap();
    for task in batch {
        let stored = mysql.task(task.id).await.unwrap().unwrap();
        assert_eq!(stored.payload.bytes.len(), size);
    }
}
