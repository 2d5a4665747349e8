//! One node alone loses its way to the database: others take what it holds, and by then it has stopped.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use evertask::{Context, Runtime, State, TaskState};

use crate::{
    LEASE, on_every_server,
    server::Server,
    until,
    wire::{Weather, Wire},
};

on_every_server!(
    who_alone_is_cut_off_has_stopped_when_another_begins,
    who_alone_is_hung_up_on_has_stopped_when_another_begins
);

/// When runs began and ended, by the number of the node.
type Runs = Arc<Mutex<Vec<(usize, Instant, Option<Instant>)>>>;

#[derive(Clone)]
struct Place {
    node: usize,
    runs: Runs,
}

struct Run {
    place: Place,
    at: usize,
}

impl Run {
    fn begin(place: &Place) -> Self {
        let mut runs = place.runs.lock().unwrap();
        runs.push((place.node, Instant::now(), None));
        Self { place: place.clone(), at: runs.len() - 1 }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.place.runs.lock().unwrap()[self.at].2 = Some(Instant::now());
    }
}

#[evertask::handler]
async fn lasts(place: State<Place>) {
    let _run = Run::begin(&place);
    std::future::pending::<()>().await;
}

#[evertask::handler]
async fn heeds(place: State<Place>, ctx: Context) {
    let _run = Run::begin(&place);
    ctx.cancelled().await;
}

async fn who_alone_is_cut_off_has_stopped_when_another_begins(server: Arc<impl Server>) {
    alone(server, Weather::Silent).await;
}

/// All that it tries fails at once, also to announce itself anew: that it tries is no sign of life.
async fn who_alone_is_hung_up_on_has_stopped_when_another_begins(server: Arc<impl Server>) {
    alone(server, Weather::HangingUp).await;
}

async fn alone(server: Arc<impl Server>, weather: Weather) {
    let wire = Wire::to(server.target());
    let runs = Runs::default();
    let node = async |node: usize, url: String| {
        let builder = Runtime::builder().url(url).discover(false).lease(LEASE);
        let builder = builder.handler::<lasts>().handler::<heeds>();
        builder.state(Place { node, runs: runs.clone() }).start().await.unwrap()
    };
    let first = node(1, server.url_at(wire.port())).await;
    let client = Runtime::builder().url(server.url()).discover(false);
    let client = client.handler::<lasts>().handler::<heeds>().client().await.unwrap();
    let one = lasts::dispatch().on(&client).await.unwrap();
    let other = heeds::dispatch().on(&client).await.unwrap();
    until("both run", async || runs.lock().unwrap().len() == 2).await;
    let second = node(2, server.url()).await;
    wire.set(weather);
    if weather == Weather::HangingUp {
        wire.cut();
    }
    until("both run again", async || {
        runs.lock().unwrap().iter().filter(|run| run.0 == 2).count() == 2
    })
    .await;
    for run in runs.lock().unwrap().iter().filter(|run| run.0 == 1) {
        let ended = run.2.expect("it has ended before");
        println!("cut off after {:?}", ended - run.1);
    }
    // Others wait for a lease and a quarter of a second, and it for a lease.
    let all = runs.lock().unwrap().clone();
    let begun = all.iter().filter(|run| run.0 == 2).map(|run| run.1).min().unwrap();
    for (_, _, ended) in all.iter().filter(|run| run.0 == 1) {
        assert!(ended.is_some_and(|ended| ended < begun), "two runs of a task overlap: {all:?}");
    }
    wire.set(Weather::Clear);
    // What it has to say about them is refused, and it goes on.
    until("it is in touch again", async || {
        let health = first.health().await;
        health.ok && health.running == 0
    })
    .await;
    one.cancel().await.unwrap();
    other.cancel().await.unwrap();
    for task in [one.id(), other.id()] {
        until("it ends", async || {
            client.task(task).await.unwrap().unwrap().state == TaskState::Cancelled
        })
        .await;
    }
    second.shutdown().await.unwrap();
    let again = lasts::dispatch().on(&client).await.unwrap();
    until("it takes tasks in as before", async || runs.lock().unwrap().len() == 5).await;
    assert_eq!(runs.lock().unwrap()[4].0, 1);
    again.cancel().await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), first.shutdown()).await.unwrap().unwrap();
}
