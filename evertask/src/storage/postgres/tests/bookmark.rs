//! Bookmarks: what is before them is found again, and what is dead there costs nothing.

use std::{sync::Arc, time::Duration};

use super::{fresh, session};
use crate::{
    body::Body,
    storage::{
        Claim, ClaimedTask, Known, NewTask, NodeId, Postgres, Settlement, Storage,
        postgres::row::get,
    },
    verdict::Verdict,
};

const WAITING: usize = 2_000;

/// A storage with tasks in it that claims as if its lane were littered.
async fn littered(postgres: &Postgres) -> NodeId {
    let tasks = (0..WAITING).map(|_| NewTask::new("mail", Body::json(&()).unwrap()));
    postgres.enqueue(tasks.collect()).await.unwrap();
    waded(postgres);
    NodeId::now_v7()
}

fn waded(postgres: &Postgres) {
    postgres.0.site.bookmarks().looked_at_all(Duration::from_secs(100), 0);
}

async fn claim(postgres: &Postgres, node: NodeId, id: u64, tasks: usize) -> Vec<ClaimedTask> {
    let handlers: Arc<[Known]> = [Known { name: "mail".into(), version: 1 }].into();
    let claim = Claim::new(id, node, handlers, tasks).queue("default", tasks, 0);
    postgres.claim(claim).await.unwrap().tasks
}

async fn give_back(postgres: &Postgres, task: &ClaimedTask) {
    let release = Settlement::new(task.id, task.lease, Verdict::Release);
    postgres.settle(vec![release]).await.unwrap();
}

#[tokio::test]
async fn what_comes_back_to_a_place_before_a_bookmark_is_found_whoever_gave_it_back() {
    let Some((options, url)) = fresh() else { return };
    let (ours, theirs) =
        (options.clone().connect(&url).await.unwrap(), options.connect(&url).await.unwrap());
    let node = littered(&ours).await;
    // No bookmark is put where something may not be committed yet.
    let old = "UPDATE tasks SET due_at = due_at - 1000000";
    session(&ours).await.script(old).await.unwrap();
    let first = claim(&ours, node, 1, 1).await.remove(0);
    let second = claim(&ours, node, 2, 1).await.remove(0);
    give_back(&ours, &first).await;
    assert_eq!(claim(&ours, node, 3, 1).await[0].id, first.id, "given back by this process");
    waded(&ours);
    claim(&ours, node, 4, 1).await;
    give_back(&theirs, &second).await;
    // Heard of in a moment; what is claimed until then comes from behind the bookmark.
    for id in 5.. {
        let next = claim(&ours, node, id, 1).await.remove(0);
        if next.id == second.id {
            break;
        }
    }
}

#[tokio::test]
async fn what_was_committed_late_is_looked_for_by_and_by() {
    let Some((options, url)) = fresh() else { return };
    let postgres = options.connect(url).await.unwrap();
    let node = littered(&postgres).await;
    assert_eq!(claim(&postgres, node, 1, WAITING).await.len(), WAITING);
    let late = NewTask::new("mail", Body::json(&()).unwrap());
    postgres.enqueue(vec![late]).await.unwrap();
    session(&postgres).await.script("UPDATE tasks SET due_at = 0 WHERE state = 0").await.unwrap();
    let handlers: Arc<[Known]> = [Known { name: "mail".into(), version: 1 }].into();
    let empty = postgres.claim(Claim::new(2, node, handlers, 1).queue("default", 1, 0)).await;
    let empty = empty.unwrap();
    assert!(empty.tasks.is_empty() && empty.next_due.is_some(), "{empty:?}");
    postgres.0.site.bookmarks().looked_at_all(Duration::ZERO, 0);
    assert_eq!(claim(&postgres, node, 3, 1).await.len(), 1);
}

/// How many pages it takes to find the head of the lane.
async fn pages(postgres: &Postgres) -> i64 {
    let conn = session(postgres).await;
    let (due_at, id) = postgres.0.site.bookmarks().place(1);
    let types = "bigint[], bool[], bigint, bigint[], uuid[]";
    let heads = super::super::claim::HEADS.text;
    conn.script(&format!("PREPARE heads({types}) AS {heads}")).await.unwrap();
    let explain = format!(
        "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) EXECUTE heads('{{1}}', '{{false}}', NULL, '{{{due_at}}}', '{{{id}}}')"
    );
    conn.ask(&explain, &[]).await.unwrap();
    let rows = conn.ask(&explain, &[]).await.unwrap();
    let lines: Vec<String> = rows.iter().map(|row| get(row, 0).unwrap()).collect();
    let buffers = lines.iter().find(|line| line.contains("Buffers: shared")).unwrap();
    buffers.split([' ', '=']).filter_map(|word| word.parse::<i64>().ok()).sum()
}

#[tokio::test]
async fn a_look_from_a_bookmark_does_not_wade_through_what_a_held_snapshot_keeps() {
    let Some((options, url)) = fresh() else { return };
    let postgres = options.connect(url).await.unwrap();
    let node = littered(&postgres).await;
    let conn = session(&postgres).await;
    conn.script("UPDATE tasks SET due_at = due_at - 10000000").await.unwrap();
    conn.script("VACUUM tasks").await.unwrap();
    let analyst = session(&postgres).await;
    analyst.script("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM lanes").await.unwrap();
    let untouched = pages(&postgres).await;
    for id in 1..10 {
        let tasks = claim(&postgres, node, id, WAITING / 10).await;
        let ends = tasks.iter().map(|it| Settlement::new(it.id, it.lease, Verdict::Complete));
        postgres.settle(ends.collect()).await.unwrap();
    }
    let marked = pages(&postgres).await;
    *postgres.0.site.bookmarks() = Default::default();
    let waded = pages(&postgres).await;
    assert!(marked <= untouched + 10, "{marked} pages instead of {untouched}");
    assert!(waded > marked * 5, "{waded} pages without a bookmark: nothing is proved");
}

#[tokio::test]
async fn what_may_have_been_told_while_nobody_listened_is_looked_for_from_the_start() {
    let Some((options, url)) = fresh() else { return };
    let name = evertask_servers::schema();
    let ours = options.clone().connect(format!("{url}&application_name={name}")).await.unwrap();
    let theirs = session(&options.connect(&url).await.unwrap()).await;
    let listens = format!(
        "SELECT pid FROM pg_stat_activity WHERE application_name = '{name}' AND query LIKE '%LISTEN%'"
    );
    while theirs.ask(&listens, &[]).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    waded(&ours);
    theirs
        .ask(&format!("SELECT pg_terminate_backend(pid) FROM ({listens}) AS l"), &[])
        .await
        .unwrap();
    let marks = || ours.0.site.bookmarks().held_for();
    while marks().is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
