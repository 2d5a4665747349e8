//! A database that crashes, ends sessions, is cut off, keeps silent, is half open or slow: every loop comes back by itself and
//! says so meanwhile, nothing is lost, nobody alive is robbed, and nobody grows.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use evertask::{AttemptEnd, Health, Runtime, TaskHandle, TaskState};

use crate::{
    LEASE, effects,
    inquest::Inquest,
    journal::{self, Journal},
    load::{self, work},
    node::{Node, living},
    on_every_server,
    server::Server,
    toll::Toll,
    until,
    wire::{Weather, Wire},
};

mod storms {
    use crate::on_every_server;

    use super::in_any_weather_nothing_is_lost_and_nobody_alive_is_robbed;

    on_every_server!(each seed: in_any_weather_nothing_is_lost_and_nobody_alive_is_robbed);
}

on_every_server!(
    half_open_connections_cost_no_lease_and_are_given_up_soon,
    a_node_that_has_become_deaf_notices_it,
    a_refusal_of_any_length_is_reported_and_survived_and_stops_nothing,
    a_silence_of_any_length_is_reported_and_survived,
);

/// Two processes and a node of the test's own, each on a wire of its own.
struct Scene {
    place: tempfile::TempDir,
    wires: Vec<Wire>,
    nodes: Vec<Node>,
    own: Runtime,
    client: Runtime,
    /// Where handlers write with the ends of their tasks, if they can.
    effects: Option<String>,
}

/// A task that runs until it is cancelled, and under which lease it does.
struct Held {
    task: TaskHandle<work>,
    lease: u64,
}

impl Scene {
    async fn new(server: &impl Server, seed: u64) -> Self {
        let place = tempfile::tempdir().unwrap();
        let wires: Vec<_> = (0..3).map(|_| Wire::to(server.target())).collect();
        let url = |n: usize| server.url_at(wires[n].port());
        let effects = Some(server.url()).filter(|url| effects::are_on(url));
        if let Some(url) = &effects {
            effects::prepare(url).await;
        }
        let (directory, journal) = (place.path(), Journal::open(place.path()));
        let nodes = (0..2).map(|n| Node::spawn(&url(n), directory, seed + n as u64, 0)).collect();
        let own = load::builder(&url(2), &journal).start().await.unwrap();
        tokio::spawn(load::tell_events(own.clone(), journal.clone()));
        let (dispatcher, to) = (own.clone(), directory.to_owned());
        tokio::spawn(load::dispatch(dispatcher, journal.clone(), to, seed, effects.is_some()));
        let client = load::builder(&server.url(), &journal).client().await.unwrap();
        let scene = Self { wires, nodes, own, client, effects, place };
        until("all nodes live", async || {
            journal::read(scene.directory())
                .iter()
                .filter(|(_, line)| line.starts_with("node"))
                .count()
                == 2
        })
        .await;
        scene
    }

    fn directory(&self) -> &Path {
        self.place.path()
    }

    /// Gives the nodes tasks to hold: more than one of them has room for, so that one of the first two has some.
    async fn hold(&self) -> Vec<Held> {
        let held: Vec<_> = (0..14).map(|_| work::new("held")).collect();
        let held = evertask::dispatch_all(held).on(&self.client).await.unwrap();
        // One that was only taken ahead may be given back.
        until("all of them have begun", async || {
            let lines = journal::read(self.directory());
            let begun = |task: &TaskHandle<work>| {
                let begin = format!("begin {}", task.id());
                lines.iter().any(|(_, line)| line.starts_with(&begin))
            };
            held.iter().all(begun)
        })
        .await;
        let mut with_leases = Vec::new();
        for task in held {
            let lease = task.info().await.unwrap().unwrap().lease;
            with_leases.push(Held { task, lease });
        }
        with_leases
    }

    /// Those who held them have them still.
    async fn let_go(self, held: Vec<Held>) -> Inquest {
        for Held { task, lease } in held {
            let info = task.info().await.unwrap().unwrap();
            assert_eq!(info.lease, lease, "its node was alive all the time: {info:?}");
            task.cancel().await.unwrap();
        }
        let inquest = self.end().await;
        assert!(inquest.robbed().is_empty(), "nobody died");
        inquest
    }

    /// Those who held them have stopped in time: none was taken from anybody, and what is held now is so under a lease of its own.
    async fn stopped(self, held: Vec<Held>) -> Inquest {
        for Held { task, lease } in held {
            let info = task.info().await.unwrap().unwrap();
            let ended = info.state == TaskState::Completed && info.lease == lease;
            let interrupted = info
                .attempts
                .iter()
                .any(|attempt| attempt.end == AttemptEnd::Interrupted && attempt.lease == lease);
            assert!(ended || interrupted, "its node was out of touch for its lease: {info:?}");
            task.cancel().await.unwrap();
        }
        let inquest = self.end().await;
        assert!(inquest.robbed().is_empty(), "nobody died");
        inquest
    }

    async fn end(self) -> Inquest {
        self.wires.iter().for_each(|wire| wire.set(Weather::Clear));
        load::finish(self.directory(), &living(&self.nodes), &self.client).await;
        until("the node is well", async || self.own.health().await.ok).await;
        let Self { place, nodes, own, client, effects, .. } = self;
        let inquest = Inquest::hold(place.path(), &client).await;
        own.shutdown().await.unwrap();
        drop(nodes);
        inquest.nothing_is_lost();
        inquest.nothing_stale_was_accepted();
        if let Some(url) = effects {
            inquest.effects_happened_once(&effects::read(&url).await);
        }
        inquest
    }
}

async fn in_any_weather_nothing_is_lost_and_nobody_alive_is_robbed(
    server: Arc<impl Server>,
    seed: u64,
) {
    let mut random = fastrand::Rng::with_seed(seed);
    let scene = Scene::new(&*server, seed).await;
    let (mut storms, mut ended) = (Vec::new(), 0);
    let end = Instant::now() + crate::length(10);
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(random.u64(100..600))).await;
        // Shorter than a lease, with time to come back.
        let lasts = Duration::from_millis(random.u64(100..LEASE.as_millis() as u64 / 2));
        let wire = random.usize(..scene.wires.len());
        let storm = ["crash", "sessions", "cut", "refused", "silent", "half open", "slow"]
            [random.usize(..7)];
        storms.push(storm);
        match storm {
            "crash" => {
                let server = Arc::clone(&server);
                let crash = move || {
                    server.crash();
                    std::thread::sleep(lasts / 4);
                    server.restart();
                };
                tokio::task::spawn_blocking(crash).await.unwrap();
            }
            "sessions" => ended += server.end_sessions().await,
            "cut" => scene.wires.iter().for_each(Wire::cut),
            "half open" => scene.wires[wire].half_open(),
            _ => {
                let weather = match storm {
                    "refused" => Weather::Refusing,
                    "silent" => Weather::Silent,
                    _ => Weather::Slow(Duration::from_millis(50)),
                };
                // For one of them, or for all.
                let all = random.bool();
                let hit = |n: usize| all || n == wire;
                for (n, wire) in scene.wires.iter().enumerate().filter(|(n, _)| hit(*n)) {
                    wire.set(weather);
                    if storm == "refused" {
                        scene.wires[n].cut();
                    }
                }
                tokio::time::sleep(lasts).await;
                scene.wires.iter().for_each(|wire| wire.set(Weather::Clear));
            }
        }
    }
    let inquest = scene.end().await;
    println!(
        "{} storms ({ended} sessions ended), {} tasks, {} troubles told, {} attempts lost, {} stale writes refused",
        storms.len(),
        inquest.tasks.len(),
        inquest.troubles.len(),
        inquest.robbed().len(),
        inquest.refused,
    );
    println!("{}", Toll::of(&inquest));
    assert!(!inquest.troubles.is_empty(), "nobody said a word in {storms:?}");
    assert!(inquest.robbed().is_empty(), "nobody died in {storms:?}");
}

/// How long it takes until a task that is dispatched now has been run, and that is known here. On MariaDB both are found by looks,
/// about a second apart, so it is the one task that is waited for: many with little time each would measure the chance that
/// two looks fall together.
async fn at_work_again(client: &Runtime) -> Duration {
    let start = Instant::now();
    let task = work::dispatch("quick").priority(9).on(client).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), task.output()).await;
    ended.expect("the nodes work again").unwrap();
    start.elapsed()
}

async fn half_open_connections_cost_no_lease_and_are_given_up_soon(server: Arc<impl Server>) {
    let scene = Scene::new(&*server, 7).await;
    let held = scene.hold().await;
    // Two of them cannot be heard over what they have, and the third one listens.
    scene.wires[..2].iter().for_each(Wire::half_open);
    tokio::time::sleep(LEASE * 2).await;
    scene.wires[2].half_open();
    let took = at_work_again(&scene.client).await;
    // A beat is given up after half a second here, and what else is silent three seconds later.
    assert!(took < Duration::from_secs(10), "{took:?}");
    scene.let_go(held).await;
    println!("half open everywhere: at work again after {took:?}");
}

async fn a_node_that_has_become_deaf_notices_it(server: Arc<impl Server>) {
    let (place, wire) = (tempfile::tempdir().unwrap(), Wire::to(server.target()));
    let journal = Journal::open(place.path());
    let client = load::builder(&server.url(), &journal).client().await.unwrap();
    let url = server.url_at(wire.port());
    let node = load::builder(&url, &journal).start().await.unwrap();
    at_work_again(&client).await;
    wire.half_open();
    // Nothing is asked of it, so nothing but a notification can tell it that there is work.
    let took = at_work_again(&client).await;
    println!("deaf: at work again after {took:?}");
    // A beat is given up after half a second here, and what else is silent three seconds later.
    assert!(took < Duration::from_secs(10), "{took:?}");
    node.shutdown().await.unwrap();
}

/// A server that refuses somebody refuses everybody, and nobody takes anything over.
async fn a_refusal_of_any_length_is_reported_and_survived_and_stops_nothing(
    server: Arc<impl Server>,
) {
    let (scene, held) = outage(&*server, Weather::Refusing).await;
    let inquest = scene.let_go(held).await;
    assert!(!inquest.troubles.is_empty(), "nobody said a word");
}

/// Silence proves nothing about anybody. But each of them may be the only one from where it stands, and stops.
async fn a_silence_of_any_length_is_reported_and_survived(server: Arc<impl Server>) {
    let (scene, held) = outage(&*server, Weather::Silent).await;
    let inquest = scene.stopped(held).await;
    assert!(!inquest.troubles.is_empty(), "nobody said a word");
}

/// Three leases without a database, for all; and one comes back before the others.
async fn outage(server: &impl Server, weather: Weather) -> (Scene, Vec<Held>) {
    let scene = Scene::new(server, 8).await;
    let held = scene.hold().await;
    let before: Vec<u64> = scene.nodes.iter().map(Node::memory).collect();
    let start = Instant::now();
    for wire in &scene.wires {
        wire.set(weather);
        if weather == Weather::Refusing {
            wire.cut();
        }
    }
    let told = |health: &Health| {
        let failing = |name| health.loops.iter().any(|it| it.name == name && it.failing.is_some());
        !health.ok && failing("renew") && failing("peers") && health.storage_error.is_some()
    };
    until("the node says what does not work", async || told(&scene.own.health().await)).await;
    tokio::time::sleep((LEASE * 3).saturating_sub(start.elapsed())).await;
    let grown: Vec<u64> = scene
        .nodes
        .iter()
        .zip(&before)
        .map(|(node, before)| node.memory().saturating_sub(*before))
        .collect();
    // One comes back before the others, and has not seen what became of them.
    scene.wires[2].set(Weather::Clear);
    let back = Instant::now();
    until("the node is well", async || scene.own.health().await.ok).await;
    let took = back.elapsed();
    tokio::time::sleep((LEASE / 2).saturating_sub(took)).await;
    scene.wires.iter().for_each(|wire| wire.set(Weather::Clear));
    tokio::time::sleep(LEASE * 2).await;
    println!("{weather:?} for three leases: well {took:?} after, grown by {grown:?} KiB");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(grown.iter().all(|grown| *grown < 20 * 1024), "{grown:?} KiB");
    (scene, held)
}
