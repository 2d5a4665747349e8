//! What is stopped has stopped before anybody is told, and a process that wakes up after its tasks were taken has no say in them.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
};

use evertask::{
    AttemptEnd, Context, EventKind, Runtime, State, TaskHandle, TaskId, TaskInfo, TaskState,
};
use rustix::process::Signal;

use crate::{
    LEASE,
    journal::{self, Journal},
    on_every_server,
    process::{self, Process},
    server::Server,
    until,
};

on_every_server!(
    a_timeout_is_recorded_only_after_the_handler_is_gone,
    who_wakes_up_too_late_drops_its_handlers_and_what_it_says_is_refused,
);

/// Where the drop of a handler waits.
type Gate = Arc<Mutex<Receiver<()>>>;

/// Says that it is being dropped, and is not gone until the gate opens.
struct SlowToEnd {
    gate: Gate,
    journal: Journal,
    id: TaskId,
}

impl Drop for SlowToEnd {
    fn drop(&mut self) {
        self.journal.say(&format!("dropping {}", self.id));
        let _opened = self.gate.lock().unwrap().recv();
    }
}

#[evertask::handler(timeout = "300ms", retries = 0)]
async fn too_slow(gate: State<Gate>, journal: State<Journal>, ctx: Context) {
    let _slow =
        SlowToEnd { gate: Arc::clone(&gate), journal: Journal::clone(&journal), id: ctx.id() };
    std::future::pending::<()>().await;
}

fn said(directory: &Path, line: &str) -> bool {
    journal::read(directory).iter().any(|(_, said)| said == line)
}

async fn a_timeout_is_recorded_only_after_the_handler_is_gone(server: Arc<impl Server>) {
    let place = tempfile::tempdir().unwrap();
    let (open, gate) = channel();
    let builder = Runtime::builder().url(server.url()).discover(false).handler::<too_slow>();
    let builder = builder.state(Arc::new(Mutex::new(gate)) as Gate);
    let node = builder.state(Journal::open(place.path())).start().await.unwrap();
    let client = Runtime::builder().url(server.url()).discover(false).handler::<too_slow>();
    let client = client.client().await.unwrap();
    let task = too_slow::dispatch().on(&client).await.unwrap();
    let dropping = format!("dropping {}", task.id());
    until("it is being dropped", async || said(place.path(), &dropping)).await;
    for _ in 0..20 {
        let info = task.info().await.unwrap().unwrap();
        assert_eq!((info.state, info.attempts.len()), (TaskState::Running, 0), "it still ends");
    }
    open.send(()).unwrap();
    let state = async || task.info().await.unwrap().unwrap().state;
    until("it has failed", async || state().await == TaskState::Failed).await;
    let info = task.info().await.unwrap().unwrap();
    assert_eq!(info.attempts.last().map(|attempt| attempt.end), Some(AttemptEnd::TimedOut));
    node.shutdown().await.unwrap();
}

/// Which process it is that runs a task.
#[derive(Clone)]
struct Name(&'static str);

/// Says when its handler is dropped, in which process.
struct Told(Journal, &'static str, TaskId);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.say(&format!("{} dropped {}", self.1, self.2));
    }
}

/// Runs until it is dropped.
#[evertask::handler]
async fn lasts(name: State<Name>, journal: State<Journal>, ctx: Context) {
    let _told = Told(Journal::clone(&journal), name.0, ctx.id());
    journal.say(&format!("{} begins {}", name.0, ctx.id()));
    std::future::pending::<()>().await;
}

/// Takes longer in the first process than that is stopped for, and no time in the second.
#[evertask::handler]
async fn ends(name: State<Name>, journal: State<Journal>, ctx: Context) -> String {
    journal.say(&format!("{} begins {}", name.0, ctx.id()));
    if name.0 == "first" {
        // Blocks, so that it comes to its end whatever is found out meanwhile.
        tokio::task::block_in_place(|| std::thread::sleep(LEASE));
    }
    journal.say(&format!("{} ends {}", name.0, ctx.id()));
    name.0.to_owned()
}

async fn node(url: &str, journal: &Journal, name: &'static str) -> Runtime {
    let builder = Runtime::builder().url(url).discover(false).lease(LEASE);
    let builder = builder.handler::<lasts>().handler::<ends>();
    builder.state(journal.clone()).state(Name(name)).start().await.unwrap()
}

/// Not a test by itself: the process that is stopped. Does nothing unless told where.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn first() {
    let Some((url, directory)) = process::told() else { return };
    let journal = Journal::open(&directory);
    let node = node(&url, &journal, "first").await;
    let mut events = node.events();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if event.kind == EventKind::LeaseLost {
                journal.say(&format!("first refused {}", event.id));
            }
        }
    });
    process::orphaned().await;
}

async fn who_wakes_up_too_late_drops_its_handlers_and_what_it_says_is_refused(
    server: Arc<impl Server>,
) {
    let (place, url) = (tempfile::tempdir().unwrap(), server.url());
    let (directory, journal) = (place.path(), Journal::open(place.path()));
    let client = Runtime::builder().url(&url).discover(false).handler::<lasts>().handler::<ends>();
    let client = client.client().await.unwrap();
    let first = Process::spawn("stopped::first", &url, directory);
    let lasting = lasts::dispatch().on(&client).await.unwrap();
    until("the first has begun one", async || {
        said(directory, &format!("first begins {}", lasting.id()))
    })
    .await;
    let ending = ends::dispatch().on(&client).await.unwrap();
    until("the first has begun the other", async || {
        said(directory, &format!("first begins {}", ending.id()))
    })
    .await;
    first.signal(Signal::STOP);
    let second = node(&url, &journal, "second").await;
    assert_eq!(ending.output().await.unwrap(), "second");
    until("the second has begun the one that lasts", async || {
        said(directory, &format!("second begins {}", lasting.id()))
    })
    .await;
    let info = async |id: TaskId| -> TaskInfo { client.task(id).await.unwrap().unwrap() };
    let before = [info(lasting.id()).await, info(ending.id()).await];
    let dropped = format!("first dropped {}", lasting.id());
    assert!(!said(directory, &dropped), "it sleeps");

    first.signal(Signal::CONT);
    until("it drops what is no longer its own", async || said(directory, &dropped)).await;
    until("it has come to an end by itself", async || {
        said(directory, &format!("first ends {}", ending.id()))
    })
    .await;
    for id in [lasting.id(), ending.id()] {
        let refused = format!("first refused {id}");
        until("it is told that it lost this one", async || said(directory, &refused)).await;
    }
    let after = [info(lasting.id()).await, info(ending.id()).await];
    assert_eq!(format!("{after:?}"), format!("{before:?}"), "what it says changes nothing");
    assert_eq!(output(&ending).await, "second");
    lasting.cancel().await.unwrap();
    until("it is cancelled where it runs", async || {
        info(lasting.id()).await.state == TaskState::Cancelled
    })
    .await;
    second.shutdown().await.unwrap();
}

async fn output(task: &TaskHandle<ends>) -> String {
    task.output().await.unwrap()
}
