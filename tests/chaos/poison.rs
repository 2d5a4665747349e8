//! A task that kills its process whenever it runs is found out and set aside, and what only ran beside it goes on.

use std::{path::Path, sync::Arc, time::Duration};

use evertask::{AttemptEnd, AttemptInfo, Context, Runtime, State, TaskId, TaskInfo, TaskState};
use rustix::process::{Signal, getpid, kill_process};

use crate::{
    journal::{self, Journal},
    on_every_server,
    process::{self, Process},
    server::Server,
};

on_every_server!(who_kills_its_processes_is_quarantined_and_bystanders_are_spared);

/// As short as may be, since a death is seven of them.
const LEASE: Duration = Duration::from_secs(1);
/// How often a task is lost before it is suspected, and how often a suspect may be lost alone.
const DEATHS: usize = 2 + 5;
/// Tasks that run beside it when its process dies.
const BYSTANDERS: usize = 6;

/// Ends its process as the system does when there is no memory left.
#[evertask::handler]
async fn poison(journal: State<Journal>, ctx: Context) {
    // Whatever was given out with it has begun by then.
    tokio::time::sleep(Duration::from_millis(300)).await;
    journal.say(&format!("kills {}", ctx.id()));
    kill_process(getpid(), Signal::KILL).unwrap();
    std::future::pending::<()>().await;
}

#[evertask::handler]
async fn bystander(journal: State<Journal>, ctx: Context) {
    journal.say(&format!("begin {}", ctx.id()));
    tokio::time::sleep(Duration::from_millis(800)).await;
}

fn builder(url: &str, journal: &Journal) -> evertask::Builder {
    let builder = Runtime::builder().url(url).discover(false).lease(LEASE);
    let builder = builder.handler::<poison>().handler::<bystander>();
    // As it is unless one says otherwise.
    builder.state(journal.clone()).concurrency(2 + BYSTANDERS)
}

/// Not a test by itself: the process that is killed from inside. Does nothing unless told where.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Some((url, directory)) = process::told() else { return };
    let _node = builder(&url, &Journal::open(&directory)).start().await.unwrap();
    process::orphaned().await;
}

fn said(directory: &Path, what: &str, id: TaskId) -> usize {
    let line = format!("{what} {id}");
    journal::read(directory).iter().filter(|(_, said)| *said == line).count()
}

async fn who_kills_its_processes_is_quarantined_and_bystanders_are_spared(
    server: Arc<impl Server>,
) {
    let (place, url) = (tempfile::tempdir().unwrap(), server.url());
    let journal = Journal::open(place.path());
    let client = builder(&url, &journal).client().await.unwrap();
    let all = (0..BYSTANDERS).map(|_| bystander::new());
    let bystanders = evertask::dispatch_all(all).on(&client).await.unwrap();
    let guilty = poison::dispatch().on(&client).await.unwrap();
    let info = async |id: TaskId| -> TaskInfo { client.task(id).await.unwrap().unwrap() };

    let mut victim = Process::spawn("poison::victim", &url, place.path());
    let mut deaths = 0;
    crate::until("it is set aside, and all others have ended", async || {
        if let Some(status) = victim.ended() {
            assert!(!status.success(), "it was killed");
            deaths += 1;
            victim = Process::spawn("poison::victim", &url, place.path());
        }
        let mut over = info(guilty.id()).await.state.is_final();
        for task in &bystanders {
            over &= info(task.id()).await.state.is_final();
        }
        over
    })
    .await;

    let found = info(guilty.id()).await;
    println!("{deaths} processes died: {:?}", found.error);
    assert_eq!(found.state, TaskState::Failed);
    let why = found.error.as_deref().unwrap_or_default();
    assert!(why.contains("died while it ran and nothing else did, for the 5th time"), "{why}");
    assert_eq!((deaths, said(place.path(), "kills", guilty.id())), (DEATHS, DEATHS));
    let lost = |attempt: &AttemptInfo| attempt.end == AttemptEnd::Lost;
    assert!(found.attempts.len() == DEATHS && found.attempts.iter().all(lost), "{found:?}");
    assert_eq!(found.attempt, 1, "no attempt was spent before the last: {found:?}");
    let mut beside = 0;
    for task in &bystanders {
        let info = info(task.id()).await;
        assert_eq!(info.state, TaskState::Completed, "{info:?}");
        assert!(info.losses <= 2, "lost with it, until both were suspected: {info:?}");
        beside += said(place.path(), "begin", task.id()) - 1;
    }
    assert!(beside >= BYSTANDERS, "they did run beside it: {beside}");
}
