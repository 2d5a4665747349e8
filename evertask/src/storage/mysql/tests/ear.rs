//! Processes that sleep and wake each other.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};

use super::{Connection, run, session, task, two};
use crate::{
    policy::Keep,
    storage::{
        Cancel, Claim, Claimed, MySql, Node, Storage,
        mysql::{crier::Wake, ear, look::Look, row::number},
        server::Transition,
    },
};

/// Longer than any test: whoever hears of something before was woken.
const NEVER: Duration = Duration::from_secs(60);

async fn claim(mysql: &MySql, node: &Node, id: u64, slots: usize) -> Claimed {
    let claim = Claim::new(id, node.id, node.handlers.clone(), slots).queue("default", slots, 0);
    mysql.claim(claim).await.unwrap()
}

/// Waits to hear of something, and not so long that it might have been found by a look.
async fn hear<T>(bell: &mut watch::Receiver<T>) {
    timeout(NEVER / 3, bell.changed()).await.expect("nobody woke it").unwrap();
}

/// The sessions that sleep for these tables.
async fn asleep(mysql: &MySql, conn: &mut Connection) -> Vec<u64> {
    let text = ear::statement(&mysql.0.site);
    let sql = "SELECT id FROM information_schema.processlist WHERE info = ?";
    let answer = run(mysql, conn, sql, &[&text]).await;
    answer.rows.iter().map(|row| number(row, 0).unwrap()).collect()
}

/// Waits until one sleeps.
async fn fall_asleep(mysql: &MySql, conn: &mut Connection) -> u64 {
    let wait = async {
        loop {
            if let [one] = asleep(mysql, conn).await[..] {
                return one;
            }
        }
    };
    timeout(NEVER / 3, wait).await.expect("it does not fall asleep")
}

#[tokio::test]
async fn who_has_room_is_woken_by_what_another_process_does() {
    let Some((here, there, node)) = two(NEVER).await else { return };
    let mut conn = session(&there).await;
    let mut work = here.bell().listen_work();
    let mut orders = here.bell().listen_orders();
    assert_eq!(claim(&here, &node, 1, 2).await.tasks.len(), 0);
    for id in 2..5 {
        let before = fall_asleep(&here, &mut conn).await;
        work.mark_unchanged();
        orders.mark_unchanged();
        let stored = task();
        there.enqueue(vec![stored.clone()]).await.unwrap();
        hear(&mut work).await;
        assert_eq!(claim(&here, &node, id, 2).await.tasks.len(), 1);
        assert_eq!(fall_asleep(&here, &mut conn).await, before, "by the same session");
        assert_eq!(there.cancel(stored.id, Keep::Forever).await.unwrap(), Cancel::Asked);
        hear(&mut orders).await;
        let done = crate::storage::Settlement::new(stored.id, 1, crate::verdict::Verdict::Complete);
        here.settle(vec![done]).await.unwrap();
    }
}

#[tokio::test]
async fn an_ear_whose_session_is_ended_sleeps_again() {
    let Some((here, there, node)) = two(NEVER).await else { return };
    let mut conn = session(&there).await;
    claim(&here, &node, 1, 1).await;
    let first = fall_asleep(&here, &mut conn).await;
    run(&there, &mut conn, "KILL ?", &[&first]).await;
    while fall_asleep(&here, &mut conn).await == first {}
    let mut work = here.bell().listen_work();
    work.mark_unchanged();
    there.enqueue(vec![task()]).await.unwrap();
    hear(&mut work).await;
}

#[tokio::test]
async fn who_was_told_or_left_something_does_not_listen() {
    let Some((here, there, node)) = two(NEVER).await else { return };
    let mut conn = session(&there).await;
    let ear = &here.0.site.ear;
    let mut work = here.bell().listen_work();
    claim(&here, &node, 1, 1).await;
    fall_asleep(&here, &mut conn).await;
    assert!(!ear.is_idle());
    work.mark_unchanged();
    there.enqueue(vec![task(), task()]).await.unwrap();
    hear(&mut work).await;
    assert!(ear.is_idle(), "it was told");
    assert_eq!(claim(&here, &node, 2, 1).await.tasks.len(), 1);
    assert!(ear.is_idle(), "it left one");
}

#[tokio::test]
async fn nobody_elses_sleep_is_ended() {
    let Some((here, there, node)) = two(NEVER).await else { return };
    let mut conn = session(&there).await;
    let mut other = session(&here).await;
    let sleep = tokio::spawn(async move {
        other
            .ask("SELECT SLEEP(600), 'another_' AS evertask_ear")
            .await
            .map(|answer| number::<u64>(&answer.rows[0], 0).unwrap())
    });
    for id in 1..4 {
        claim(&here, &node, id, 9).await;
        fall_asleep(&here, &mut conn).await;
        let mut work = here.bell().listen_work();
        work.mark_unchanged();
        there.enqueue(vec![task()]).await.unwrap();
        hear(&mut work).await;
    }
    assert!(!sleep.is_finished());
    sleep.abort();
}

#[tokio::test]
async fn behind_a_proxy_nobody_is_woken() {
    let Some((here, there, node)) = two(NEVER).await else { return };
    let mut conn = session(&there).await;
    claim(&here, &node, 1, 1).await;
    let before = fall_asleep(&here, &mut conn).await;
    let mut behind = session(&there).await.behind_a_proxy();
    assert_eq!(Wake.run(&there.0.site, &mut behind).await.unwrap(), 0);
    assert_eq!(asleep(&here, &mut conn).await, [before]);
    assert_eq!(Wake.run(&there.0.site, &mut conn).await.unwrap(), 1);
}

/// What is stored before that may be seen by no look, and after it wakes.
#[tokio::test]
async fn a_look_tells_whether_the_ear_sleeps_by_then() {
    let Some((here, there, node)) = two(NEVER).await else { return };
    let mut conn = session(&there).await;
    let look = async |woken: bool, conn: &mut Connection| {
        let look = Look { nodes: vec![node.id], woken };
        look.run(&here.0.site, conn).await.unwrap().asleep
    };
    assert!(!look(true, &mut conn).await);
    claim(&here, &node, 1, 1).await;
    fall_asleep(&here, &mut conn).await;
    assert!(look(true, &mut conn).await);
    assert!(!look(false, &mut conn).await, "nobody asked");
}
