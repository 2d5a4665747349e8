//! A database whose disk is full: those who dispatch are told, the loops go on trying, and once there is room all of it is done.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use evertask::{DispatchError, TaskState, storage::StorageErrorKind};
use evertask_servers::SmallDisk;

use crate::{
    LEASE, effects,
    inquest::Inquest,
    journal::Journal,
    load::{self, work},
    node::{Node, living},
    on_server,
    server::Server,
    until,
};

/// Room for a server and its data, and some more.
const MEGABYTES: u64 = 320;

on_server!(
    postgres,
    super::small(evertask_servers::own_postgres_on),
    a_full_disk_is_told_and_survived
);

on_server!(
    mariadb,
    super::small(evertask_servers::own_mariadb_on),
    a_full_disk_is_told_and_survived
);

/// A server on a small disk. Only root can make one; elsewhere the test is passed over, loudly.
fn small<S>(server: impl FnOnce(&std::path::Path) -> Option<S>) -> Option<(S, SmallDisk)> {
    let disk = evertask_servers::small_disk(MEGABYTES)?;
    let server = server(disk.path())?;
    // The server comes first, and goes first.
    Some((server, disk))
}

async fn a_full_disk_is_told_and_survived(server: Arc<(impl Server, SmallDisk)>) {
    let (server, disk) = &*server;
    let place = tempfile::tempdir().unwrap();
    let (directory, journal) = (place.path(), Journal::open(place.path()));
    if effects::are_on(&server.url()) {
        effects::prepare(&server.url()).await;
    }
    let nodes = [Node::spawn(&server.url(), directory, 1, 0)];
    let own = load::builder(&server.url(), &journal).start().await.unwrap();
    tokio::spawn(load::tell_events(own.clone(), journal.clone()));
    let effects = effects::are_on(&server.url());
    tokio::spawn(load::dispatch(own.clone(), journal.clone(), directory.to_owned(), 3, effects));
    let held = work::dispatch("held").on(&own).await.unwrap();
    until("the task runs", async || {
        held.info().await.unwrap().unwrap().state == TaskState::Running
    })
    .await;
    let before = nodes[0].memory();
    disk.fill();
    let start = Instant::now();
    // What needs a new page needs room. It is not tried again: who dispatches decides what to do without room.
    let large = format!("quick{}", "x".repeat(60_000));
    let mut told = None;
    until("somebody is told that there is no room", async || {
        match work::dispatch(large.clone()).on(&own).await {
            Err(DispatchError::Storage(error)) if error.kind() == StorageErrorKind::Full => {
                told = Some(error.to_string());
            }
            _ => {}
        }
        told.is_some() || !server.is_up()
    })
    .await;
    tokio::time::sleep((LEASE * 2).saturating_sub(start.elapsed())).await;
    // Its log needs room as well, and without it the server cannot go on at all.
    server.fill_log().await;
    tokio::time::sleep((LEASE * 4).saturating_sub(start.elapsed())).await;
    let grown = nodes[0].memory().saturating_sub(before);
    disk.make_room();
    // If it ended itself, whoever looks after it starts it again.
    let ended = !server.is_up();
    if ended {
        server.restart();
    }
    let back = Instant::now();
    until("the node is well", async || own.health().await.ok).await;
    let took = back.elapsed();
    held.cancel().await.unwrap();
    load::finish(directory, &living(&nodes), &own).await;
    let inquest = Inquest::hold(directory, &own).await;
    own.shutdown().await.unwrap();
    println!(
        "four leases without room: the server {}; {} tasks, {} troubles told, grown by {grown} KiB, well {took:?} after; {told:?}",
        if ended { "ended itself" } else { "went on" },
        inquest.tasks.len(),
        inquest.troubles.len(),
    );
    inquest.nothing_is_lost();
    inquest.nothing_stale_was_accepted();
    if effects {
        inquest.effects_happened_once(&effects::read(&server.url()).await);
    }
    assert!(inquest.robbed().is_empty(), "nobody died");
    assert!(!inquest.troubles.is_empty(), "nobody said a word");
    assert!(ended || told.is_some_and(|told| told.contains("make room")));
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(grown < 20 * 1024, "{grown} KiB");
}
