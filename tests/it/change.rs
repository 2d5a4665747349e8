//! Code changes under stored tasks: renames, newer payloads, payloads that can no longer be read, rolling deploys.

use std::time::Duration;

use evertask::{
    AttemptEnd, Body, EventKind, OutputError, Runtime, State, TaskState,
    storage::{Inspect, Memory, NewTask, Storage},
};
use futures_core::Stream;

use crate::log::Log;

#[evertask::handler(name = "mail.welcome", aliases = ["welcome_mail"], version = 2)]
async fn welcome(
    email: String,
    #[arg(default)] language: String,
    nick: Option<String>,
    log: State<Log>,
) {
    log.add(format!("{email} {language:?} {nick:?}"));
}

async fn node(memory: &Memory, log: &Log) -> Runtime {
    let builder = Runtime::builder().storage(memory.clone()).discover(false).state(log.clone());
    builder.handler::<welcome>().handler::<huge>().start().await.unwrap()
}

async fn store(
    memory: &Memory,
    name: &str,
    version: u32,
    payload: serde_json::Value,
) -> evertask::TaskId {
    let mut task = NewTask::new(name, Body::json(&payload).unwrap());
    task.version = version;
    memory.enqueue(vec![task]).await.unwrap()[0].id
}

async fn state(memory: &Memory, id: evertask::TaskId) -> TaskState {
    memory.task(id).await.unwrap().unwrap().state
}

#[tokio::test(start_paused = true)]
async fn tasks_of_an_older_name_and_shape_run_and_those_of_a_newer_shape_wait() {
    let (memory, log) = (Memory::new(), Log::default());
    let old = store(&memory, "welcome_mail", 1, serde_json::json!({"email": "a@b.c"})).await;
    let newer =
        store(&memory, "mail.welcome", 3, serde_json::json!({"address": {"email": "x"}})).await;
    let gone = store(&memory, "removed_handler", 1, serde_json::json!({})).await;
    let runtime = node(&memory, &log).await;
    crate::until(async || state(&memory, old).await == TaskState::Completed).await;
    assert_eq!(log.taken(), [r#"a@b.c "" None"#]);
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    assert_eq!(state(&memory, newer).await, TaskState::Pending);
    assert_eq!(state(&memory, gone).await, TaskState::Pending);
    let unserved = runtime.health().await.unserved;
    let told: Vec<_> =
        unserved.iter().map(|backlog| (backlog.name.as_str(), backlog.version)).collect();
    assert!(
        told.contains(&("mail.welcome", 3)) && told.contains(&("removed_handler", 1)),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_payload_has_five_chances_and_then_fails_with_the_place() {
    let (memory, log) = (Memory::new(), Log::default());
    let runtime = node(&memory, &log).await;
    let mut events = runtime.events();
    let start = tokio::time::Instant::now();
    let id = store(&memory, "mail.welcome", 2, serde_json::json!({"email": ["not", "text"]})).await;
    crate::until(async || state(&memory, id).await == TaskState::Failed).await;
    assert_eq!(start.elapsed().as_secs() / 60, 1 + 2 + 3 + 4);
    let info = memory.task(id).await.unwrap().unwrap();
    assert!(
        info.error.as_deref().unwrap().contains("at `email`: invalid type: sequence"),
        "{:?}",
        info.error
    );
    assert_eq!(
        info.attempts.iter().filter(|attempt| attempt.end == AttemptEnd::Unreadable).count(),
        5
    );
    assert_eq!(log.len(), 0, "its handler never ran");
    let mut kinds = Vec::new();
    while kinds.last() != Some(&EventKind::Failed) {
        let event =
            std::future::poll_fn(|cx| std::pin::Pin::new(&mut events).poll_next(cx)).await.unwrap();
        if event.kind != EventKind::Started {
            kinds.push(event.kind);
        }
    }
    assert_eq!(kinds.iter().filter(|kind| **kind == EventKind::Unreadable).count(), 4);
}

#[evertask::handler]
async fn huge(log: State<Log>) -> String {
    log.add("worked");
    "x".repeat(2 << 20)
}

#[tokio::test(start_paused = true)]
async fn an_output_that_cannot_be_kept_never_repeats_the_work() {
    let (memory, log) = (Memory::new(), Log::default());
    let runtime = node(&memory, &log).await;
    let mut events = runtime.events();
    let task = huge::dispatch().await.unwrap();
    let error = task.output().await.unwrap_err();
    assert!(matches!(&error, OutputError::NotStored { .. }), "{error}");
    assert!(
        error.to_string().contains("completed, but its output could not be stored: 2097154 bytes"),
        "{error}"
    );
    assert_eq!((log.len(), state(&memory, task.id()).await), (1, TaskState::Completed));
    let mut lost = None;
    while lost.is_none() {
        let event =
            std::future::poll_fn(|cx| std::pin::Pin::new(&mut events).poll_next(cx)).await.unwrap();
        lost = (event.kind == EventKind::OutputLost).then_some(event.error);
    }
}
