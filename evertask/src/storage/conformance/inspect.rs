//! Reads agree with writes.

use super::subject::{NAME, QUEUE, Subject, keyed, known, seconds, settlement, task};
use crate::{
    bounds::PAGE_MAX,
    storage::{Backlog, Count, Due, NewTask, Node, Page, Settlement, TaskFilter},
    task::{TaskId, TaskState},
    verdict::Verdict,
};

fn all() -> TaskFilter {
    TaskFilter::default()
}

/// What is not stored is not found.
pub async fn an_unknown_task_is_not_found(subject: &Subject) {
    subject.store(task()).await;
    assert!(subject.find(TaskId::new()).await.is_none());
}

/// Listings come newest first, in pages that neither skip nor repeat.
pub async fn pages_neither_skip_nor_repeat(subject: &Subject) {
    let batch: Vec<NewTask> = (0..25).map(|_| task()).collect();
    let mut expected: Vec<TaskId> = batch.iter().map(|task| task.id).collect();
    expected.reverse();
    subject.try_enqueue(batch).await.unwrap();
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = Page { before, limit: 10 };
        let tasks = subject.storage().tasks(all(), page).await.unwrap();
        assert!(tasks.len() <= 10);
        let Some(last) = tasks.last() else { break };
        before = Some(last.id);
        found.extend(tasks.iter().map(|task| task.id));
        // What comes in meanwhile is newer than all pages to come.
        subject.store(task()).await;
    }
    assert_eq!(found, expected);
}

/// No page is larger than the largest, whatever is asked for, and none is empty by being asked for nothing.
pub async fn pages_are_bounded(subject: &Subject) {
    subject.try_enqueue((0..PAGE_MAX + 1).map(|_| task()).collect()).await.unwrap();
    for (limit, expected) in [(usize::MAX, PAGE_MAX), (0, 1), (1, 1)] {
        let page = Page { before: None, limit };
        assert_eq!(subject.storage().tasks(all(), page).await.unwrap().len(), expected);
    }
}

/// Listings leave attempts out, and tell all else.
pub async fn listings_leave_attempts_out(subject: &Subject) {
    let id = subject.store(keyed("k")).await;
    subject.end(&subject.node().await.take_one().await, Verdict::Fail).await;
    let page = Page { before: None, limit: 1 };
    let listed = subject.storage().tasks(all(), page).await.unwrap().remove(0);
    assert!(listed.attempts.is_empty());
    let mut info = subject.info(id).await;
    assert_eq!(info.attempts.len(), 1);
    info.attempts.clear();
    assert_eq!(format!("{listed:?}"), format!("{info:?}"));
}

/// By handler, by queue, by state.
pub async fn tasks_are_found_by_name_queue_and_state(subject: &Subject) {
    let plain = subject.store(task()).await;
    let node = subject.node().await;
    let held = node.take_one().await;
    let other = subject.store(NewTask { name: "mail.goodbye".into(), ..task() }).await;
    let mail = subject.store(NewTask { queue: "mail".into(), ..task() }).await;
    let name = Some(NAME.to_owned());
    let queue = Some(QUEUE.to_owned());
    let found = subject.list(TaskFilter { name: name.clone(), ..all() }).await;
    assert_eq!(found, [mail, plain]);
    let found = subject.list(TaskFilter { queue: queue.clone(), ..all() }).await;
    assert_eq!(found, [other, plain]);
    let found = subject.list(TaskFilter { name, queue, ..all() }).await;
    assert_eq!(found, [plain], "all that is asked for must match");
    let of_state = |state| TaskFilter { state: Some(state), ..all() };
    assert_eq!(subject.list(of_state(TaskState::Running)).await, [plain]);
    assert_eq!(subject.list(of_state(TaskState::Pending)).await, [mail, other]);
    subject.end(&held, Verdict::Complete).await;
    assert_eq!(subject.list(of_state(TaskState::Completed)).await, [plain]);
    assert!(subject.list(of_state(TaskState::Running)).await.is_empty());
    let none = TaskFilter { name: Some("mail".to_owned()), ..all() };
    assert!(subject.list(none).await.is_empty(), "a name is no prefix");
}

/// By tag: key and value together.
pub async fn tasks_are_found_by_tag(subject: &Subject) {
    let tagged = |tags: &[(&str, &str)]| NewTask {
        tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..task()
    };
    let a = subject.store(tagged(&[("tenant", "acme"), ("plan", "pro")])).await;
    let b = subject.store(tagged(&[("tenant", "bolt"), ("plan", "acme")])).await;
    subject.store(task()).await;
    let by = |k: &str, v: &str| TaskFilter { tag: Some((k.to_owned(), v.to_owned())), ..all() };
    assert_eq!(subject.list(by("tenant", "acme")).await, [a]);
    assert_eq!(subject.list(by("tenant", "bolt")).await, [b]);
    assert!(subject.list(by("plan", "bolt")).await.is_empty());
    let quote = by("x' or '1'='1", "\"]},{");
    assert!(subject.list(quote).await.is_empty());
}

/// By what a key begins with, in which no character is special.
pub async fn tasks_are_found_by_what_their_key_begins_with(subject: &Subject) {
    let mut stored = Vec::new();
    for key in ["user:1", "user:12", "User:1", "user%", "us_r:1", "user:🦀", "x", "a user:1"] {
        stored.push(subject.store(keyed(key)).await);
    }
    subject.store(task()).await;
    let by = |prefix: &str| TaskFilter { key_prefix: Some(prefix.to_owned()), ..all() };
    assert_eq!(subject.list(by("user:1")).await, [stored[1], stored[0]]);
    assert_eq!(subject.list(by("user:")).await, [stored[5], stored[1], stored[0]]);
    assert_eq!(subject.list(by("user%")).await, [stored[3]]);
    assert_eq!(subject.list(by("us_r")).await, [stored[4]]);
    assert_eq!(subject.list(by("user:🦀")).await, [stored[5]]);
    assert!(subject.list(by("*")).await.is_empty());
}

/// By when they were stored: from an instant on, and before another.
pub async fn tasks_are_found_by_when_they_were_stored(subject: &Subject) {
    let start = subject.clock().now();
    let mut stored = Vec::new();
    for _ in 0..3 {
        stored.push(subject.store(task()).await);
        subject.advance(10);
    }
    let between = |from: u64, to: u64| TaskFilter {
        created_from: Some(start + seconds(from)),
        created_to: Some(start + seconds(to)),
        ..all()
    };
    assert_eq!(subject.list(between(0, 10)).await, [stored[0]]);
    assert_eq!(subject.list(between(10, 21)).await, [stored[2], stored[1]]);
    assert!(subject.list(between(21, 99)).await.is_empty());
}

/// By the fingerprint of an error, as large as fingerprints are.
pub async fn tasks_are_found_by_the_fingerprint_of_an_error(subject: &Subject) {
    let node = subject.node().await;
    let mut stored = Vec::new();
    for print in [u64::MAX, 1 << 63, 7] {
        stored.push(subject.store(task()).await);
        let mut sent = settlement(&node.take_one().await, Verdict::Fail);
        if let Some(attempt) = &mut sent.attempt {
            attempt.fingerprint = Some(print);
        }
        subject.settle(sent).await;
    }
    for (print, id) in [u64::MAX, 1 << 63, 7].into_iter().zip(stored) {
        let found = subject.list(TaskFilter { fingerprint: Some(print), ..all() }).await;
        assert_eq!(found, [id], "{print}");
    }
    assert!(subject.list(TaskFilter { fingerprint: Some(8), ..all() }).await.is_empty());
}

/// Counts tell how many tasks there are, by queue, handler and state.
pub async fn counts_agree_with_what_is_stored(subject: &Subject) {
    assert_eq!(subject.storage().counts().await.unwrap(), []);
    for _ in 0..3 {
        subject.store(task()).await;
    }
    subject.store(NewTask { queue: "mail".into(), ..task() }).await;
    subject.store(NewTask { due: Due::After(seconds(60)), ..task() }).await;
    let node = subject.node().await;
    let held = node.take(2).await;
    subject.end(&held[0], Verdict::Complete).await;
    let mut counts = subject.storage().counts().await.unwrap();
    counts.sort_by(|a, b| (&a.queue, a.state.as_str()).cmp(&(&b.queue, b.state.as_str())));
    let count = |queue: &str, state, tasks| Count {
        queue: queue.to_owned(),
        name: NAME.to_owned(),
        state,
        tasks,
    };
    let expected = [
        count(QUEUE, TaskState::Completed, 1),
        count(QUEUE, TaskState::Pending, 2),
        count(QUEUE, TaskState::Running, 1),
        count("mail", TaskState::Pending, 1),
    ];
    assert_eq!(counts, expected);
}

/// The backlog is what is due and does not run, also where nobody knows the handler.
pub async fn the_backlog_is_what_is_due_and_waits(subject: &Subject) {
    assert_eq!(subject.storage().backlog().await.unwrap(), []);
    subject.store(NewTask { name: "nobody.knows".into(), queue: "mail".into(), ..task() }).await;
    subject.advance(5);
    for priority in [0, 3] {
        subject.store(NewTask { version: 2, priority, ..task() }).await;
        subject.advance(1);
    }
    subject.store(task()).await;
    subject.node().await.take_one().await;
    subject.store(NewTask { due: Due::After(seconds(60)), ..task() }).await;
    let mut backlog = subject.storage().backlog().await.unwrap();
    backlog.sort_by(|a, b| a.queue.cmp(&b.queue));
    let waiting = |queue: &str, name: &str, version, due, oldest| Backlog {
        queue: queue.to_owned(),
        name: name.to_owned(),
        version,
        due,
        oldest: seconds(oldest),
    };
    let expected = [waiting(QUEUE, NAME, 2, 2, 2), waiting("mail", "nobody.knows", 1, 1, 7)];
    assert_eq!(backlog, expected);
}

/// All nodes are listed with what they said of themselves, those that started first before the others, until they leave.
pub async fn every_node_is_on_the_roll_until_it_leaves(subject: &Subject) {
    subject.stay_open();
    assert!(subject.storage().roll().await.unwrap().nodes.is_empty());
    let known = known(&[("report", 3), (NAME, 1)]);
    let mut first = Node::new(known.clone(), vec!["mail".to_owned(), QUEUE.to_owned()]);
    (first.host, first.pid, first.binary) =
        ("a \"b\" ü".to_owned(), 4_000_000_000, "1.2.3".to_owned());
    let second = Node::new(known, Vec::new());
    for node in [&second, &first] {
        subject.storage().join(node.clone()).await.unwrap();
    }
    let roll = subject.storage().roll().await.unwrap();
    assert_eq!(roll.nodes.iter().map(|node| node.id).collect::<Vec<_>>(), [first.id, second.id]);
    let found = &roll.nodes[0];
    assert_eq!((&found.host, found.pid, &found.binary), (&first.host, first.pid, &first.binary));
    assert_eq!((&*found.handlers, &found.queues), (&*first.handlers, &first.queues));
    assert!(roll.nodes.iter().all(|node| node.lives && node.joined <= roll.now), "{roll:?}");
    // Said again, it is no second node.
    first.binary = "1.2.4".to_owned();
    subject.storage().join(first.clone()).await.unwrap();
    subject.storage().leave(second.id).await.unwrap();
    let roll = subject.storage().roll().await.unwrap();
    assert_eq!(roll.nodes.iter().map(|node| &*node.binary).collect::<Vec<_>>(), ["1.2.4"]);
    subject.storage().leave(first.id).await.unwrap();
    assert!(subject.storage().roll().await.unwrap().nodes.is_empty());
}

/// Who holds a task is told of it as long as it runs, and of no other.
pub async fn a_running_task_names_who_holds_it(subject: &Subject) {
    let (node, taker) = (subject.node().await, subject.node().await);
    let id = subject.store(task()).await;
    assert_eq!(subject.info(id).await.node, None);
    node.take_one().await;
    assert_eq!(subject.info(id).await.node, Some(node.id));
    let listed = subject.storage().tasks(all(), Page::default()).await.unwrap();
    assert_eq!(listed[0].node, Some(node.id));
    let lost = subject.seize(node.id, taker.id, 10).await.remove(0);
    assert_eq!(subject.info(id).await.node, Some(taker.id));
    subject.settle(Settlement::new(id, lost.lease, Verdict::Release)).await;
    assert_eq!(subject.info(id).await.node, None);
    subject.end(&node.take_one().await, Verdict::Complete).await;
    assert_eq!(subject.info(id).await.node, None);
}
