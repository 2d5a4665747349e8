//! What is said of a task, word by word.

use std::{sync::Arc, time::SystemTime};

use super::*;
use crate::{
    body::Body,
    storage::{Claim, Inspect as _, Known, ManualClock, Memory, NewTask, Node, Storage as _},
    task::{AttemptEnd, AttemptInfo},
};

fn now() -> SystemTime {
    ManualClock::new().now()
}

/// What it knows, what it serves, whether it lives.
type Sketch<'a> = (&'a [(&'a str, u32)], &'a [&'a str], bool);

fn roll(nodes: &[Sketch<'_>]) -> Roll {
    let node = |(handlers, queues, lives): &Sketch<'_>| {
        let known = handlers
            .iter()
            .map(|(name, version)| Known { name: (*name).into(), version: *version });
        NodeInfo {
            handlers: known.collect(),
            queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
            lives: *lives,
            host: "here".to_owned(),
            pid: 7,
            quiet: Duration::from_millis(20_600),
            ..NodeInfo::new(NodeId::now_v7(), now())
        }
    };
    Roll::new(now(), nodes.iter().map(node).collect())
}

/// A task that is due, as a storage tells of it.
async fn task() -> TaskInfo {
    let memory = Memory::with_clock(ManualClock::new().clock());
    let mut new = NewTask::new("mail", Body { codec: 1, bytes: (*b"null").into() });
    new.version = 2;
    let id = new.id;
    memory.enqueue(vec![new]).await.unwrap();
    memory.task(id).await.unwrap().unwrap()
}

fn said(task: &TaskInfo, roll: &Roll, backlog: &[Backlog]) -> String {
    let said = Explanation::of(task.clone(), roll, backlog).to_string();
    let (head, why) = said.split_once(": ").unwrap();
    assert_eq!(head, format!("task {} (`mail`) is {}", task.id, task.state));
    why.to_owned()
}

fn is(task: &TaskInfo, roll: &Roll, words: &str) {
    let said = said(task, roll, &[]);
    assert!(said.starts_with(words), "{said}");
}

const MAIL: &[(&str, u32)] = &[("mail", 2)];
const DEFAULT: &[&str] = &["default"];

#[tokio::test]
async fn of_what_hinders_a_task_that_is_due_the_first_is_told() {
    let task = task().await;
    is(&task, &roll(&[]), "no node lives");
    is(&task, &roll(&[(MAIL, DEFAULT, false)]), "no node lives");
    is(
        &task,
        &roll(&[(&[("other", 9)], DEFAULT, true)]),
        "no node that lives knows a handler `mail`",
    );
    let old = (&[("mail", 1)][..], DEFAULT, true);
    is(
        &task,
        &roll(&[old, (MAIL, DEFAULT, false)]),
        "its payload has version 2, and no node that lives reads a newer one than 1",
    );
    // One reads it, and another one serves its queue.
    is(
        &task,
        &roll(&[old, (MAIL, &["else"], true)]),
        "no node that lives and knows `mail` serves the queue `default`",
    );
    let able = roll(&[(MAIL, &["else", "default"], true), (MAIL, DEFAULT, true), old]);
    is(&TaskInfo { losses: 2, ..task.clone() }, &able, "2 nodes died while it ran");
    let line = |queue: &str, name: &str, due| Backlog {
        queue: queue.to_owned(),
        name: name.to_owned(),
        version: 2,
        due,
        oldest: Duration::ZERO,
    };
    let backlog =
        [line("default", "mail", 4), line("default", "other", 3), line("else", "mail", 9)];
    assert_eq!(
        said(&task, &able, &backlog),
        "it is due and waits for its turn; due in its queue `default`: 7, nodes that serve it: 2"
    );
}

#[tokio::test]
async fn what_is_not_due_and_what_has_ended_says_so() {
    let (task, nobody) = (task().await, roll(&[]));
    let due = task.due + Duration::from_millis(5_300);
    let later = TaskInfo { due, ..task.clone() };
    assert_eq!(said(&later, &nobody, &[]), "it is due in 5 s");
    let error = Some("no route".to_owned());
    let retried = TaskInfo { due: task.due + Duration::from_millis(40), error, ..task.clone() };
    assert_eq!(
        said(&retried, &nobody, &[]),
        "it is due in 40 ms, since its last try went wrong: no route"
    );
    is(&TaskInfo { expires: Some(nobody.now), ..later }, &nobody, "its time is out");
    for (state, words) in [
        (TaskState::Completed, "it is done"),
        (TaskState::Failed, "it failed for good: no route"),
        (TaskState::Cancelled, "it was cancelled: no route"),
    ] {
        assert_eq!(said(&TaskInfo { state, ..retried.clone() }, &nobody, &[]), words);
    }
}

#[tokio::test]
async fn of_one_that_runs_its_node_is_told() {
    let (alive, dead) = (roll(&[(MAIL, DEFAULT, true)]), roll(&[(MAIL, DEFAULT, false)]));
    let held = |roll: &Roll| (TaskState::Running, roll.nodes[0].id);
    let task = task().await;
    let running = |(state, node)| TaskInfo { state, node: Some(node), ..task.clone() };
    is(&running(held(&alive)), &alive, "a node holds it ready");
    let started = Some(alive.now - Duration::from_secs(90));
    let begun = TaskInfo { started, ..running(held(&alive)) };
    let node = alive.nodes[0].id;
    let words = format!("it has been running for 1 min 30 s (node {node}, process 7 on here)");
    assert_eq!(said(&begun, &alive, &[]), words);
    let attempts = vec![AttemptInfo {
        lease: 1,
        attempt: 1,
        node,
        binary: String::new(),
        started: alive.now - Duration::from_secs(90),
        ended: alive.now,
        end: AttemptEnd::Failed,
        error: None,
        fingerprint: None,
    }];
    is(&TaskInfo { attempts, ..begun.clone() }, &alive, "a node holds it ready");
    is(&TaskInfo { cancel_asked: true, ..begun }, &alive, "it is to be cancelled");
    let node = dead.nodes[0].id;
    is(
        &running(held(&dead)),
        &dead,
        &format!("its node ({node}) has given no sign of life for 20 s"),
    );
    is(&running(held(&dead)), &alive, &format!("its node ({node}) has left"));
}

#[test]
fn durations_are_said_as_people_say_them() {
    for (millis, words) in [
        (0, "0 ms"),
        (999, "999 ms"),
        (59_999, "59 s"),
        (60_000, "1 min 0 s"),
        (3_599_000, "59 min 59 s"),
        (5_400_000, "1 h 30 min"),
        (86_400_000, "1 d 0 h"),
    ] {
        assert_eq!(Rounded(Duration::from_millis(millis)).to_string(), words);
    }
}

/// What a storage tells goes in as it is.
#[tokio::test]
async fn a_node_of_memory_lives_for_its_lease() {
    let clock = crate::storage::ManualClock::new();
    let memory = Memory::with_clock(clock.clock());
    let known: Arc<[Known]> = [Known { name: "mail".into(), version: 2 }].into();
    let node = Node::new(Arc::clone(&known), vec!["default".to_owned()]);
    memory.join(node.clone()).await.unwrap();
    let new = NewTask::new("mail", Body { codec: 1, bytes: (*b"null").into() });
    let id = new.id;
    memory.enqueue(vec![new]).await.unwrap();
    memory.claim(Claim::new(1, node.id, known, 1).queue("default", 1, 0)).await.unwrap();
    let explained = async || {
        let task = memory.task(id).await.unwrap().unwrap();
        Explanation::of(task, &memory.roll().await.unwrap(), &[]).why
    };
    clock.advance(Duration::from_secs(14));
    assert!(matches!(explained().await, Why::Runs { ran: Some(ran), .. } if ran.as_secs() == 14));
    clock.advance(Duration::from_secs(1));
    let lost = Why::Lost { node: node.id, quiet: Some(Duration::from_secs(15)) };
    assert_eq!(explained().await, lost);
    memory.leave(node.id).await.unwrap();
    assert_eq!(explained().await, Why::Lost { node: node.id, quiet: None });
}
