//! Transactions that stand in each other's way.

use std::{sync::Arc, time::Duration};

use super::{Connection, MySql, fresh, run, session, task};
use crate::{
    policy::Keep,
    storage::{
        Beat, Cancel, Inspect, Known, NewTask, Node, NodeId, Storage,
        mysql::row::{number, text},
        server::Session,
    },
    task::TaskState,
};

fn keyed(key: &str) -> NewTask {
    NewTask { key: Some(key.to_owned()), ..task() }
}

/// Waits until a transaction other than this one waits for a lock of this table, and gives its number.
async fn waiting(mysql: &MySql, conn: &mut Connection, table: &str, but: u64) -> u64 {
    let table = format!(".`{}{table}` trx id ", mysql.0.site.settings.prefix.text);
    loop {
        // As in `RECORD LOCKS … of table `evertask`.`tasks` trx id 17 lock_mode X … waiting`.
        let answer = run(mysql, conn, "SHOW ENGINE INNODB STATUS", &[]).await;
        let status = text(&answer.rows[0], 2).unwrap();
        let waits = status.lines().filter(|line| line.ends_with(" waiting"));
        let numbers = waits.filter_map(|line| line.split_once(&table)?.1.split(' ').next());
        let mut numbers = numbers.map(|number| number.parse::<u64>().unwrap());
        if let Some(waits) = numbers.find(|number| *number != but) {
            return waits;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A session that is not ended when it stands still in a transaction.
async fn patient(mysql: &MySql) -> Connection {
    let mut conn = session(mysql).await;
    run(mysql, &mut conn, "SET SESSION idle_transaction_timeout = 0", &[]).await;
    conn
}

#[tokio::test]
async fn a_deadlock_is_tried_again_and_nobody_hears_of_it() {
    let Some((options, url)) = fresh() else { return };
    let mysql = options.connect(&url).await.unwrap();
    let (first, second) = (keyed("a"), keyed("b"));
    mysql.enqueue(vec![first.clone(), second.clone()]).await.unwrap();
    let (mut other, mut watcher) = (patient(&mysql).await, session(&mysql).await);
    // The other one holds `b` and wants `a`; the storage takes `a` and then wants `b`. The one that has written less is
    // taken back.
    run(&mysql, &mut other, "START TRANSACTION", &[]).await;
    let lock = "SELECT id FROM {tasks} WHERE id = ? FOR UPDATE";
    run(&mysql, &mut other, lock, &[&second.id]).await;
    for n in 0..100_i64 {
        let lane = "INSERT INTO {lanes} VALUES (?, 'other', 'other', ?, 0, 0)";
        run(&mysql, &mut other, lane, &[&(n + 1_000), &n]).await;
    }
    let (storage, again) = (mysql.clone(), vec![keyed("a"), keyed("b")]);
    let replacing = tokio::spawn(async move { storage.enqueue(again).await });
    waiting(&mysql, &mut watcher, "tasks", 0).await;
    let deadlocks = "SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'";
    let count = async |conn: &mut Connection| {
        let answer = run(&mysql, conn, deadlocks, &[]).await;
        number::<u64>(&answer.rows[0], 1).unwrap()
    };
    let before = count(&mut watcher).await;
    run(&mysql, &mut other, lock, &[&first.id]).await;
    assert!(count(&mut watcher).await > before, "there was a deadlock");
    run(&mysql, &mut other, "COMMIT", &[]).await;
    let told = replacing.await.unwrap().expect("the storage tries again");
    assert_eq!((told[0].id, told[1].id), (first.id, second.id));
}

#[tokio::test]
async fn who_waits_too_long_for_a_lock_tries_again() {
    let Some((options, url)) = fresh() else { return };
    let mysql = options.connect(&url).await.unwrap();
    let stored = task();
    mysql.enqueue(vec![stored.clone()]).await.unwrap();
    let (mut other, mut watcher) = (patient(&mysql).await, session(&mysql).await);
    run(&mysql, &mut other, "START TRANSACTION", &[]).await;
    let lock = "SELECT id FROM {tasks} WHERE id = ? FOR UPDATE";
    run(&mysql, &mut other, lock, &[&stored.id]).await;
    let (storage, id) = (mysql.clone(), stored.id);
    let cancelling = tokio::spawn(async move { storage.cancel(id, Keep::Forever).await });
    let waits = waiting(&mysql, &mut watcher, "tasks", 0).await;
    // Who has given up, and come again, is another transaction.
    waiting(&mysql, &mut watcher, "tasks", waits).await;
    run(&mysql, &mut other, "COMMIT", &[]).await;
    assert_eq!(cancelling.await.unwrap().unwrap(), Cancel::Done);
    assert_eq!(mysql.task(id).await.unwrap().unwrap().state, TaskState::Cancelled);
}

#[tokio::test]
async fn a_claim_passes_over_what_others_have_locked_and_locks_no_more_than_it_takes() {
    let Some((options, url)) = fresh() else { return };
    let mysql = options.connect(&url).await.unwrap();
    let tasks: Vec<NewTask> = (0..10).map(|_| task()).collect();
    mysql.enqueue(tasks.clone()).await.unwrap();
    let mut other = patient(&mysql).await;
    run(&mysql, &mut other, "START TRANSACTION", &[]).await;
    let lock = "SELECT id FROM {tasks} WHERE id = ? FOR UPDATE";
    run(&mysql, &mut other, lock, &[&tasks[0].id]).await;
    let handlers: Arc<[Known]> = [Known { name: "mail".into(), version: 1 }].into();
    let node = Node::new(handlers.clone(), vec!["default".to_owned()]);
    mysql.join(node.clone()).await.unwrap();
    let claim = crate::storage::Claim::new(1, node.id, handlers, 3).queue("default", 3, 0);
    let claimed = mysql.claim(claim).await.unwrap();
    let ids: Vec<_> = claimed.tasks.iter().map(|task| task.id).collect();
    assert_eq!(ids, [tasks[1].id, tasks[2].id, tasks[3].id]);
    assert!(claimed.more, "the first one is still there");
    run(&mysql, &mut other, "ROLLBACK", &[]).await;
    // What a claim has read and not taken is free while its transaction is open.
    use super::super::{claim, site};
    let (prefix, mut script) = (&mysql.0.site.settings.prefix, mysql.0.site.transaction());
    let mut text = prefix.fill(claim::LOCK.0, &[]);
    text.extend(prefix.fill(claim::HEAD, &[&0_i64, &1_i64, &100_i64]));
    text.extend(prefix.fill(claim::LOCK.1, &[&2_i64]));
    script.add(site::NOW, &[]);
    script.statements.push(text);
    assert_eq!(other.run(script).await.unwrap().0[3].rows.len(), 2);
    let mut third = session(&mysql).await;
    let free = "SELECT id FROM {tasks} WHERE line IS NOT NULL FOR UPDATE SKIP LOCKED";
    assert_eq!(run(&mysql, &mut third, free, &[]).await.rows.len(), 7 - 2);
    third.roll_back().await.unwrap();
}

#[tokio::test]
async fn what_a_stopped_rescuer_has_locked_is_free_again_in_a_moment() {
    let Some((options, url)) = fresh() else { return };
    let mysql = options.connect(&url).await.unwrap();
    let handlers: Arc<[Known]> = [Known { name: "mail".into(), version: 1 }].into();
    let dead = Node::new(handlers.clone(), vec!["default".to_owned()]);
    mysql.join(dead.clone()).await.unwrap();
    let task = task();
    mysql.enqueue(vec![task.clone()]).await.unwrap();
    let claim = crate::storage::Claim::new(1, dead.id, handlers, 1).queue("default", 1, 0);
    assert_eq!(mysql.claim(claim).await.unwrap().tasks.len(), 1);
    // It is stopped between the two halves of a seizure.
    let mut stopped = session(&mysql).await;
    run(&mysql, &mut stopped, "START TRANSACTION", &[]).await;
    run(&mysql, &mut stopped, "SELECT id FROM {tasks} WHERE id = ? FOR UPDATE", &[&task.id]).await;
    let (since, by) = (tokio::time::Instant::now(), crate::storage::NodeId::now_v7());
    let seized = loop {
        let seen = mysql.peers(by).await.unwrap()[0];
        let seized = mysql.seize(seen, by, 10).await.unwrap();
        if !seized.is_empty() {
            break seized;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(seized[0].id, task.id);
    let took = since.elapsed();
    assert!(took < Duration::from_secs(3), "it was locked for {took:?}");
}

#[tokio::test]
async fn a_node_that_gives_a_sign_of_life_while_it_is_taken_over_keeps_its_tasks() {
    let Some((options, url)) = fresh() else { return };
    let mysql = options.connect(&url).await.unwrap();
    let handlers: Arc<[Known]> = [Known { name: "mail".into(), version: 1 }].into();
    let (silent, by) = (Node::new(handlers.clone(), Vec::new()), NodeId::now_v7());
    mysql.join(silent.clone()).await.unwrap();
    mysql.enqueue(vec![task()]).await.unwrap();
    let claim = crate::storage::Claim::new(1, silent.id, handlers, 1).queue("default", 1, 0);
    assert_eq!(mysql.claim(claim).await.unwrap().tasks.len(), 1);
    let seen = mysql.peers(by).await.unwrap()[0];
    let (mut other, mut watcher) = (patient(&mysql).await, session(&mysql).await);
    run(&mysql, &mut other, "START TRANSACTION", &[]).await;
    let beat = "UPDATE {nodes} SET beat = beat + 1 WHERE id = ?";
    run(&mysql, &mut other, beat, &[&silent.id]).await;
    let storage = mysql.clone();
    let seizing = tokio::spawn(async move { storage.seize(seen, by, 10).await.unwrap() });
    waiting(&mysql, &mut watcher, "nodes", 0).await;
    run(&mysql, &mut other, "COMMIT", &[]).await;
    assert!(seizing.await.unwrap().is_empty());
    assert_eq!(mysql.renew(Beat::new(silent.id)).await.unwrap().len(), 1);
}
