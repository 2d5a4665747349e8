//! Schedules: compare-and-set, together with the tasks that come of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::subject::{NAME, Subject, keyed, known, seconds, task, text};
use crate::{
    bounds::{BATCH_MAX, KEY_MAX},
    storage::{
        Dispatched, DueSchedules, Enqueued, NewTask, ScheduleChange, ScheduleChanged, SchedulePage,
        ScheduleRow, StorageErrorKind, StoredSchedule,
    },
    task::TaskState,
    verdict::Verdict,
};

/// A schedule of the usual handler that comes up at this instant.
fn row(key: &str, next: impl Into<Option<SystemTime>>) -> ScheduleRow {
    ScheduleRow { next: next.into(), ..ScheduleRow::new(NAME, key, text(r#"{"every":5}"#)) }
}

fn done(tasks: &[&NewTask]) -> ScheduleChanged {
    let created = |task: &&NewTask| Enqueued { id: task.id, how: Dispatched::Created };
    ScheduleChanged::Done(tasks.iter().map(created).collect())
}

async fn change(subject: &Subject, change: ScheduleChange) -> ScheduleChanged {
    change_all(subject, vec![change]).await.remove(0)
}

async fn change_all(subject: &Subject, changes: Vec<ScheduleChange>) -> Vec<ScheduleChanged> {
    let asked = changes.len();
    let changed = subject.step().await.change_schedules(changes).await;
    let changed = changed.expect("the changes are answered");
    assert_eq!(changed.len(), asked, "one answer for each change");
    changed
}

/// Stores a schedule that is new, and tells its revision.
async fn add(subject: &Subject, row: ScheduleRow) -> Uuid {
    let new = ScheduleChange::to(None, row);
    assert_eq!(change(subject, new.clone()).await, done(&[]));
    new.revision
}

async fn find(subject: &Subject, key: &str) -> Option<StoredSchedule> {
    let found = subject.step().await.schedule(NAME.to_owned(), key.to_owned()).await;
    found.expect("the schedule can be read")
}

async fn look(subject: &Subject, limit: usize) -> DueSchedules {
    let due = subject.step().await.due_schedules(known(&[(NAME, 1)]), 1, limit).await;
    due.expect("the schedules can be read")
}

async fn due_keys(subject: &Subject, limit: usize) -> Vec<String> {
    let due = look(subject, limit).await.due;
    due.into_iter().map(|schedule| schedule.row.key.to_string()).collect()
}

/// A schedule reads back as it was given.
pub async fn a_schedule_reads_back_as_it_was_given(subject: &Subject) {
    assert_eq!(find(subject, "nightly").await, None);
    let bytes: Vec<u8> = (0..=255).collect();
    let given = ScheduleRow {
        next: Some(UNIX_EPOCH + Duration::from_micros(1_800_000_000_000_001)),
        format: 7,
        last: Some(task().id),
        body: crate::body::Body { codec: 3, bytes: bytes.into() },
        ..row("nightly", None)
    };
    let revision = add(subject, given.clone()).await;
    let stored = StoredSchedule::new(given, revision, None);
    assert_eq!(find(subject, "nightly").await, Some(stored));
    let bare = row("bare", None);
    let revision = add(subject, bare.clone()).await;
    assert_eq!(find(subject, "bare").await, Some(StoredSchedule::new(bare, revision, None)));
}

/// A change happens only to what was read; otherwise neither it nor its tasks are stored.
pub async fn a_schedule_is_changed_only_from_what_it_is(subject: &Subject) {
    let now = subject.clock().now();
    let first = add(subject, row("k", now)).await;
    let task = task();
    let later = row("k", now + seconds(60));
    let take = ScheduleChange::to(Some(first), later.clone()).with_tasks(vec![task.clone()]);
    assert_eq!(change(subject, take.clone()).await, done(&[&task]));
    let stored = StoredSchedule::new(later, take.revision, None);
    assert_eq!(find(subject, "k").await.as_ref(), Some(&stored));

    let rival = super::subject::task();
    for from in [Some(first), Some(Uuid::now_v7()), None] {
        let change_too = ScheduleChange::to(from, row("k", now + seconds(5)));
        let change_too = change_too.with_tasks(vec![rival.clone()]);
        assert_eq!(change(subject, change_too).await, ScheduleChanged::Stale, "from {from:?}");
    }
    let mut gone = ScheduleChange::remove(&stored);
    gone.from = Some(first);
    assert_eq!(change(subject, gone).await, ScheduleChanged::Stale);
    assert_eq!(find(subject, "k").await.as_ref(), Some(&stored));
    assert!(subject.find(rival.id).await.is_none(), "a stale change makes no tasks");
    assert_eq!(change(subject, ScheduleChange::remove(&stored)).await, done(&[]));
    assert_eq!(find(subject, "k").await, None);
    assert!(look(subject, 10).await.due.is_empty(), "what is removed comes up no more");
}

/// A schedule that is to be new takes no other one's place, and one that is gone is not changed.
pub async fn a_new_schedule_takes_no_other_ones_place(subject: &Subject) {
    add(subject, row("k", None)).await;
    let before = find(subject, "k").await;
    let new = ScheduleChange::to(None, row("k", subject.clock().now()));
    assert_eq!(change(subject, new).await, ScheduleChanged::Stale);
    assert_eq!(find(subject, "k").await, before);
    let nothing = ScheduleChange::to(Some(Uuid::now_v7()), row("other", None));
    assert_eq!(change(subject, nothing).await, ScheduleChanged::Stale);
    assert_eq!(find(subject, "other").await, None);
}

/// The tasks of a change are stored with it, as others are: with keys, options and their tick.
pub async fn a_change_and_its_tasks_are_one(subject: &Subject) {
    let now = subject.clock().now();
    let first = add(subject, row("k", now)).await;
    let keyed = NewTask { tick: Some(now), ..keyed("held") };
    let waiting = subject.store(super::subject::keyed("held")).await;
    let plain = NewTask { tick: Some(now), ..task() };
    let tasks = vec![keyed.clone(), plain.clone()];
    let take = ScheduleChange::to(Some(first), row("k", None)).with_tasks(tasks);
    let told = vec![
        Enqueued { id: waiting, how: Dispatched::Replaced },
        Enqueued { id: plain.id, how: Dispatched::Created },
    ];
    assert_eq!(change(subject, take).await, ScheduleChanged::Done(told));
    for id in [waiting, plain.id] {
        let info = subject.info(id).await;
        assert_eq!((info.tick, info.state), (Some(now), TaskState::Pending));
    }
    assert_eq!(subject.node().await.take(10).await.len(), 2, "they can be claimed");
}

/// The reply to a change may be lost: said again, it is done, and its tasks are stored once.
pub async fn a_change_may_be_repeated(subject: &Subject) {
    let now = subject.clock().now();
    let new = ScheduleChange::to(None, row("k", now));
    for _ in 0..2 {
        assert_eq!(change(subject, new.clone()).await, done(&[]));
    }
    let task = task();
    let take = ScheduleChange::to(Some(new.revision), row("k", None));
    let take = take.with_tasks(vec![task.clone()]);
    assert_eq!(change(subject, take.clone()).await, done(&[&task]));
    let node = subject.node().await;
    let held = node.take_one().await;
    subject.end(&held, Verdict::Complete).await;
    let before = (find(subject, "k").await, subject.picture(task.id).await);
    assert_eq!(change(subject, take.clone()).await, done(&[&task]));
    assert_eq!((find(subject, "k").await, subject.picture(task.id).await), before);
    assert!(node.take(10).await.is_empty(), "it is not run again");
    // Once another change came after it, nobody knows any more.
    let other = ScheduleChange::to(Some(take.revision), row("k", now));
    assert_eq!(change(subject, other).await, done(&[]));
    assert_eq!(change(subject, take).await, ScheduleChanged::Stale);
}

/// A removal may be repeated.
pub async fn a_removal_may_be_repeated(subject: &Subject) {
    add(subject, row("k", None)).await;
    let stored = find(subject, "k").await.expect("it is stored");
    let remove = ScheduleChange::remove(&stored);
    for _ in 0..2 {
        assert_eq!(change(subject, remove.clone()).await, done(&[]));
        assert_eq!(find(subject, "k").await, None);
    }
    let again = add(subject, row("k", None)).await;
    assert_eq!(change(subject, remove).await, ScheduleChanged::Stale, "that is another one");
    assert_eq!(find(subject, "k").await.map(|schedule| schedule.revision), Some(again));
}

/// A change that cannot be stored is rejected, and so are those it came with.
pub async fn a_change_that_cannot_be_stored_changes_nothing(subject: &Subject) {
    let bad_task = NewTask { queue: "".into(), ..task() };
    let crowd = (0..=BATCH_MAX).map(|_| task()).collect();
    let bad = [
        ScheduleChange::to(None, row("", None)),
        ScheduleChange::to(None, row("a\u{7}b", None)),
        ScheduleChange::to(None, row(&"k".repeat(KEY_MAX + 1), None)),
        ScheduleChange::to(None, ScheduleRow::new("", "k", text("{}"))),
        ScheduleChange::to(None, row("k", None)).with_tasks(vec![bad_task]),
        ScheduleChange::to(None, row("k", None)).with_tasks(crowd),
        // The same one twice.
        ScheduleChange::to(None, row("good", None)),
    ];
    for bad in bad {
        let good = ScheduleChange::to(None, row("good", None)).with_tasks(vec![task()]);
        let changes = vec![good, bad.clone()];
        let refused = subject.step().await.change_schedules(changes).await.unwrap_err();
        assert_eq!(refused.kind(), StorageErrorKind::Rejected, "{refused}");
        assert!(find(subject, "good").await.is_none() && find(subject, "k").await.is_none());
        assert!(subject.list(crate::storage::TaskFilter::default()).await.is_empty());
    }
}

/// One stale change among many is told so; the others happen. The answers come in the order of the changes.
pub async fn one_stale_change_among_many_is_told_so(subject: &Subject) {
    let keys: Vec<String> = (0..20).map(|n| format!("k{n:02}")).collect();
    let mut revisions = Vec::new();
    for key in &keys {
        revisions.push(add(subject, row(key, None)).await);
    }
    let tasks: Vec<NewTask> = keys.iter().map(|_| task()).collect();
    let changes = keys.iter().zip(&revisions).zip(&tasks).enumerate();
    let changes = changes.map(|(n, ((key, revision), task))| {
        let from = if n == 7 { Uuid::now_v7() } else { *revision };
        ScheduleChange::to(Some(from), row(key, None)).with_tasks(vec![task.clone()])
    });
    let changed = change_all(subject, changes.rev().collect()).await;
    for (n, (changed, task)) in changed.into_iter().rev().zip(&tasks).enumerate() {
        let stale = n == 7;
        assert_eq!(changed, if stale { ScheduleChanged::Stale } else { done(&[task]) }, "{n}");
        assert_eq!(subject.find(task.id).await.is_none(), stale);
    }
}

/// Of many that take one tick at once, one does, and its task is the only one.
pub async fn of_many_that_take_one_tick_one_does(subject: &Subject) {
    subject.stay_open();
    let now = subject.clock().now();
    for round in 0..10 {
        let key = format!("k{round}");
        let first = add(subject, row(&key, now)).await;
        let take = |_| {
            let change = ScheduleChange::to(Some(first), row(&key, now + seconds(60)));
            let change = change.with_tasks(vec![NewTask { queue: key.as_str().into(), ..task() }]);
            let storage = subject.storage();
            tokio::spawn(async move { storage.change_schedules(vec![change]).await })
        };
        let takers: Vec<_> = (0..8).map(take).collect();
        let mut winners = 0;
        for taker in takers {
            let changed = taker.await.expect("no panic").expect("it is answered");
            winners += usize::from(changed != [ScheduleChanged::Stale]);
        }
        assert_eq!(winners, 1);
        let filter = crate::storage::TaskFilter { queue: Some(key.clone()), ..Default::default() };
        assert_eq!(subject.list(filter).await.len(), 1);
    }
}

/// Schedules come up when the storage's clock says so: the longest due first, then by key; those without an instant never do.
pub async fn schedules_come_up_in_their_order(subject: &Subject) {
    let now = subject.clock().now();
    for (key, after) in [("b", 10), ("a", 10), ("c", 5), ("d", 20)] {
        add(subject, row(key, now + seconds(after))).await;
    }
    add(subject, row("never", None)).await;
    assert!(due_keys(subject, 10).await.is_empty());
    subject.advance(10);
    assert_eq!(due_keys(subject, 10).await, ["c", "a", "b"]);
    assert_eq!(look(subject, 10).await.now, now + seconds(10));
    subject.advance(10);
    assert_eq!(due_keys(subject, 10).await, ["c", "a", "b", "d"]);
}

/// A look brings no more than it asks for, and tells how long until there is more.
pub async fn a_look_is_bounded_and_tells_when_to_look_again(subject: &Subject) {
    assert_eq!(look(subject, 10).await.next_in, None, "there is nothing");
    let now = subject.clock().now();
    for n in 0..5 {
        add(subject, row(&format!("k{n}"), now + seconds(10 + n))).await;
    }
    add(subject, row("never", None)).await;
    assert_eq!(look(subject, 10).await.next_in, Some(seconds(10)));
    subject.advance(12);
    assert_eq!(due_keys(subject, 2).await, ["k0", "k1"]);
    assert_eq!(look(subject, 2).await.next_in, Some(seconds(0)), "one is left over");
    assert_eq!(due_keys(subject, 3).await, ["k0", "k1", "k2"]);
    assert_eq!(look(subject, 3).await.next_in, Some(seconds(1)));
}

/// Schedules of handlers that a node does not know, and those in a newer format, are left to others and are no reason to look
/// again.
pub async fn what_a_program_does_not_know_is_left_to_others(subject: &Subject) {
    let now = subject.clock().now();
    add(subject, row("ours", now + seconds(9))).await;
    add(subject, ScheduleRow { format: 2, ..row("newer", now) }).await;
    let other = ScheduleRow { name: "mail.goodbye".into(), ..row("other", now) };
    add(subject, other).await;
    let looked = look(subject, 10).await;
    assert_eq!((looked.due.len(), looked.next_in), (0, Some(seconds(9))));
    let both = known(&[(NAME, 1), ("mail.goodbye", 4), (NAME, 2)]);
    let due = subject.step().await.due_schedules(both, 2, 10).await.expect("it is answered").due;
    let keys: Vec<&str> = due.iter().map(|schedule| &*schedule.row.key).collect();
    assert_eq!(keys, ["other", "newer"], "by instant, then by name");
}

/// Names and keys are compared by bytes: case, accents and spaces tell schedules apart.
pub async fn names_and_keys_are_compared_by_bytes(subject: &Subject) {
    let now = subject.clock().now();
    let keys = ["A", "a", "a ", "\u{e4}", "a\u{308}"];
    for key in keys {
        add(subject, row(key, now)).await;
    }
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    assert_eq!(due_keys(subject, 10).await, sorted);
    for key in keys {
        assert_eq!(find(subject, key).await.expect("it is stored").row.key.as_ref(), key);
    }
}

/// A schedule tells how the task stands that it made last.
pub async fn the_state_of_the_last_task_is_told(subject: &Subject) {
    let now = subject.clock().now();
    let id = subject.store(task()).await;
    add(subject, ScheduleRow { last: Some(id), ..row("k", now) }).await;
    add(subject, ScheduleRow { last: Some(task().id), ..row("lost", None) }).await;
    let state = async || {
        let found = find(subject, "k").await.expect("it is stored").last_state;
        let due = look(subject, 1).await.due.remove(0).last_state;
        let page = SchedulePage { limit: 1, ..SchedulePage::default() };
        let listed = subject.step().await.schedules(page).await.expect("they can be listed");
        assert_eq!((due, listed[0].last_state), (found, found));
        found
    };
    assert_eq!(state().await, Some(TaskState::Pending));
    let node = subject.node().await;
    let held = node.take_one().await;
    assert_eq!(state().await, Some(TaskState::Running));
    subject.end(&held, Verdict::Fail).await;
    assert_eq!(state().await, Some(TaskState::Failed));
    assert_eq!(find(subject, "lost").await.expect("it is stored").last_state, None);
}

/// Schedules are listed in the order of name and key, in pages that neither skip nor repeat.
pub async fn schedules_are_listed_in_pages(subject: &Subject) {
    let names = ["a", "ab", "b"];
    let mut all = Vec::new();
    for name in names {
        for n in 0..7 {
            let key = format!("k{n}");
            add(subject, ScheduleRow { name: name.into(), ..row(&key, None) }).await;
            all.push((name.to_owned(), key));
        }
    }
    let pages = async |name: Option<&str>, limit: usize| {
        let mut listed: Vec<(String, String)> = Vec::new();
        loop {
            let (name, after) = (name.map(str::to_owned), listed.last().cloned());
            let page = SchedulePage { name, after, limit };
            let rows = subject.step().await.schedules(page).await.expect("they can be listed");
            assert!(rows.len() <= limit);
            let full = rows.len() == limit;
            listed.extend(
                rows.iter()
                    .map(|schedule| (schedule.row.name.to_string(), schedule.row.key.to_string())),
            );
            if !full {
                return listed;
            }
        }
    };
    for limit in [1, 3, 7, 100] {
        assert_eq!(pages(None, limit).await, all);
        let of_ab: Vec<_> = all.iter().filter(|(name, _)| name == "ab").cloned().collect();
        assert_eq!(pages(Some("ab"), limit).await, of_ab);
    }
    assert_eq!(pages(Some("c"), 10).await, []);
    let behind = SchedulePage {
        name: Some("ab".to_owned()),
        after: Some(("b".to_owned(), "k0".to_owned())),
        limit: 10,
    };
    assert!(subject.step().await.schedules(behind).await.expect("they can be listed").is_empty());
}
