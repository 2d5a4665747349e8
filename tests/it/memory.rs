//! What is the memory's own, beside the laws of all storages.

use std::time::Duration;

use evertask::{
    Body,
    storage::{Claim, Due, Known, Memory, NewTask, Storage},
};

/// A test that pauses tokio's clock moves the tasks along with its timers.
#[tokio::test(start_paused = true)]
async fn memory_goes_by_the_clock_of_tokio() {
    let memory = Memory::new();
    let mut task = NewTask::new("a", Body::json(&()).unwrap());
    task.due = Due::After(Duration::from_secs(3600));
    memory.enqueue(vec![task]).await.unwrap();
    let claim = |id| {
        let handlers = [Known { name: "a".into(), version: 1 }];
        memory.claim(Claim::new(id, uuid::Uuid::nil(), handlers.into(), 1).queue("default", 1, 0))
    };
    let early = claim(1).await.unwrap();
    assert_eq!((early.tasks.len(), early.next_due), (0, Some(Duration::from_secs(3600))));
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(claim(2).await.unwrap().tasks.len(), 1);
}

/// Clones are one memory, as the runtime, a client, and a test want to see it.
#[tokio::test]
async fn clones_share_their_tasks() {
    let memory = Memory::new();
    let clone = memory.clone();
    memory.enqueue(vec![NewTask::new("a", Body::json(&()).unwrap())]).await.unwrap();
    let counts = evertask::storage::Inspect::counts(&clone).await.unwrap();
    assert_eq!(counts[0].tasks, 1);
}
