//! Processes that sleep and wake each other.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

use super::{Connection, fresh, run, session, task};
use crate::{
    policy::Keep,
    storage::{
        Cancel, Claim, Claimed, Known, MySql, NewTask, Node, Storage,
        mysql::{ear, row::number},
    },
};

/// Longer than any test: whoever hears of something before was woken.
const NEVER: Duration = Duration::from_secs(60);

/// Two processes on the same tables that do not look, of which the first one has a node.
async fn two() -> Option<(MySql, MySql, Node)> {
    let (options, url) = fresh()?;
    let options = options.look_every(NEVER);
    let here = options.clone().connect(&url).await.unwrap();
    let there = options.connect(&url).await.unwrap();
    let handlers: Arc<[Known]> = [Known { name: "mail".into(), version: 1 }].into();
    let node = Node::new(handlers, vec!["default".to_owned()]);
    here.join(node.clone()).await.unwrap();
    Some((here, there, node))
}

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
    let text = String::from_utf8(ear::statement(&mysql.0.site)).unwrap();
    let sql = "SELECT id FROM information_schema.processlist WHERE info = ?";
    let answer = run(mysql, conn, sql, &[&text]).await;
    answer.rows.iter().map(|row| number(row, 0).unwrap()).collect()
}

async fn fall_asleep(mysql: &MySql, conn: &mut Connection) -> u64 {
    loop {
        if let [one] = asleep(mysql, conn).await[..] {
            return one;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn who_has_room_is_woken_by_what_another_process_does() {
    let Some((here, there, node)) = two().await else { return };
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
    let Some((here, there, node)) = two().await else { return };
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
async fn who_has_no_room_does_not_listen() {
    let Some((here, there, node)) = two().await else { return };
    let mut conn = session(&there).await;
    claim(&here, &node, 1, 1).await;
    fall_asleep(&here, &mut conn).await;
    there.enqueue(vec![task(), task()]).await.unwrap();
    while claim(&here, &node, 2, 1).await.tasks.is_empty() {}
    // Whoever still sleeps is woken by this, and does not lie down again.
    there.enqueue(vec![task()]).await.unwrap();
    while !asleep(&here, &mut conn).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn nobody_elses_sleep_is_ended() {
    let Some((here, there, node)) = two().await else { return };
    let mut conn = session(&there).await;
    let mut other = session(&here).await;
    let sleep = tokio::spawn(async move {
        other
            .ask(b"SELECT SLEEP(600), 'another_' AS evertask_ear")
            .await
            .map(|answer| number::<u64>(&answer.rows[0], 0).unwrap())
    });
    for id in 1..4 {
        claim(&here, &node, id, 9).await;
        fall_asleep(&here, &mut conn).await;
        let mut work = here.bell().listen_work();
        work.mark_unchanged();
        there.enqueue(vec![NewTask { ..task() }]).await.unwrap();
        hear(&mut work).await;
    }
    assert!(!sleep.is_finished());
    sleep.abort();
}
