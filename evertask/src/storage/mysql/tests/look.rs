//! What is seen of others, by looking.

use std::time::Duration;

use super::{run, session, task, two};
use crate::{
    policy::Keep,
    storage::{Cancel, Claim, MySql, NewTask, Node, Storage},
};

/// Takes one ahead: a node that has no slot is not woken by others.
async fn claim(mysql: &MySql, node: &Node, id: u64) -> usize {
    let claim = Claim::new(id, node.id, node.handlers.clone(), 0).queue("default", 0, 1);
    mysql.claim(claim).await.unwrap().tasks.len()
}

#[tokio::test]
async fn what_another_process_does_is_heard_of_by_a_look() {
    let Some((here, there, node)) = two(Duration::from_millis(20)).await else { return };
    let mut work = here.bell().listen_work();
    let mut orders = here.bell().listen_orders();
    work.mark_unchanged();
    // The first of its kind, and one that is stored when its lane is known.
    for id in 1..3 {
        let stored = task();
        there.enqueue(vec![stored.clone()]).await.unwrap();
        work.changed().await.unwrap();
        assert_eq!(claim(&here, &node, id).await, 1);
        work.mark_unchanged();
        orders.mark_unchanged();
        let ended = here.bell().listen_ended(stored.id);
        assert_eq!(there.cancel(stored.id, Keep::Forever).await.unwrap(), Cancel::Asked);
        orders.changed().await.unwrap();
        // Whether it has ended is for the one to see who waits.
        ended.await;
        let done = crate::storage::Settlement::new(stored.id, 1, crate::verdict::Verdict::Complete);
        here.settle(vec![done]).await.unwrap();
    }
}

#[tokio::test]
async fn a_schedule_that_has_come_up_is_heard_of_by_a_look() {
    let Some((here, there, node)) = two(Duration::from_millis(20)).await else { return };
    let mut conn = session(&there).await;
    here.due_schedules(node.handlers.clone(), 1, 10).await.unwrap();
    let mut schedules = here.bell().listen_schedules();
    schedules.mark_unchanged();
    let insert = "INSERT INTO {schedules} VALUES (?, 'nightly', ?, ?, NULL, ?, 0, '')";
    let nobody = uuid::Uuid::nil();
    let later = i64::MAX;
    for (name, at, format) in [("other", 5, 1_i64), ("mail", later, 1), ("mail", 5, 2)] {
        let key = format!("DELETE FROM {{schedules}} WHERE name = '{name}'");
        run(&there, &mut conn, &key, &[]).await;
        run(&there, &mut conn, insert, &[&name, &nobody, &at, &format]).await;
        looks(&here, 3).await;
        assert!(!schedules.has_changed().unwrap(), "{name}, at {at}, format {format}");
    }
    run(&there, &mut conn, "UPDATE {schedules} SET format = 1", &[]).await;
    schedules.changed().await.unwrap();
}

#[tokio::test]
async fn what_concerns_nobody_here_wakes_nobody() {
    let Some((here, there, node)) = two(Duration::from_millis(20)).await else { return };
    assert_eq!(claim(&here, &node, 1).await, 0);
    // Its lane is new, which is reason enough to look, once.
    let other = || NewTask { name: "other".into(), ..task() };
    let mut work = here.bell().listen_work();
    there.enqueue(vec![other()]).await.unwrap();
    work.wait_for(|work| work.rung > 0).await.unwrap();
    assert_eq!(claim(&here, &node, 2).await, 0);
    let rung = work.borrow().rung;
    there.enqueue(vec![other()]).await.unwrap();
    looks(&here, 3).await;
    assert_eq!(work.borrow().rung, rung);
}

/// Waits until so many looks have come to their end: each one tells who waits for the end of a task.
async fn looks(mysql: &MySql, count: usize) {
    // The one that is under way may have begun before.
    for _ in 0..=count {
        mysql.bell().listen_ended(task().id).await;
    }
}
