//! Three processes and a node that nothing happens to, all of which run and dispatch, and what happens to them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use evertask::Runtime;
use evertask_servers::SmallDisk;
use tokio::time::sleep;

use crate::{
    LEASE, effects,
    fault::Fault,
    inquest::Inquest,
    journal::{self, Journal},
    load,
    node::{Node, living},
    server::Server,
    toll::Toll,
    until,
    wire::{Weather, Wire},
};

const NODES: usize = 3;

pub(crate) struct Scene<S> {
    place: tempfile::TempDir,
    url: String,
    nodes: Vec<Node>,
    /// How each of them reaches the server, where something happens on the way.
    wires: Vec<Wire>,
    witness: Runtime,
    random: fastrand::Rng,
    // The server comes before its disk, and goes first.
    server: Option<Arc<S>>,
    disk: Option<SmallDisk>,
}

impl<S: Server> Scene<S> {
    pub(crate) async fn new(
        url: &str,
        server: Option<Arc<S>>,
        disk: Option<SmallDisk>,
        fault: Fault,
        seed: u64,
    ) -> Self {
        let place = tempfile::tempdir().unwrap();
        let (directory, journal) = (place.path(), Journal::open(place.path()));
        let mut random = fastrand::Rng::with_seed(seed);
        let effects = effects::are_on(url);
        if effects {
            effects::prepare(url).await;
        }
        let witness = load::builder(url, &journal).start().await.unwrap();
        tokio::spawn(load::tell_events(witness.clone(), journal.clone()));
        let to = directory.to_owned();
        tokio::spawn(load::dispatch(witness.clone(), journal, to, random.u64(..), effects));
        let on_the_wire =
            matches!(fault, Fault::CutShort | Fault::CutLong | Fault::Silent | Fault::HalfOpen);
        let behind = server.as_ref().filter(|_| on_the_wire);
        let wires: Vec<_> =
            behind.iter().flat_map(|it| (0..NODES).map(|_| Wire::to(it.target()))).collect();
        let mut scene = Self {
            url: url.to_owned(),
            nodes: Vec::new(),
            wires,
            witness,
            random,
            server,
            disk,
            place,
        };
        for n in 0..NODES {
            let hours = if fault == Fault::Skewed { n as i32 - 1 } else { 0 };
            let node = scene.node(n, hours);
            scene.nodes.push(node);
        }
        until("all nodes live", async || {
            let lines = journal::read(scene.place.path());
            lines.iter().filter(|(_, line)| line.starts_with("node")).count() == NODES
        })
        .await;
        scene
    }

    fn node(&mut self, n: usize, hours: i32) -> Node {
        let wire = self.wires.get(n).zip(self.server.as_ref());
        let url = wire.map_or(self.url.clone(), |(wire, server)| server.url_at(wire.port()));
        Node::spawn(&url, self.place.path(), self.random.u64(..), hours)
    }

    /// Lets it happen for so long; how often it did.
    pub(crate) async fn suffer(&mut self, fault: Fault, seconds: Duration) -> usize {
        let (end, mut count) = (Instant::now() + seconds, 0);
        while Instant::now() < end {
            sleep(Duration::from_millis(self.random.u64(200..800))).await;
            count += self.strike(fault, count).await;
        }
        match fault {
            // Those that were so all the time.
            Fault::Skewed => NODES - 1,
            _ => count,
        }
    }

    async fn strike(&mut self, fault: Fault, nth: usize) -> usize {
        let n = match fault {
            // One that has just started does not listen yet.
            Fault::ShutDown => nth % NODES,
            _ => self.random.usize(..NODES),
        };
        let short = LEASE.mul_f64(0.1 + self.random.f64() / 2.0);
        let long = LEASE.mul_f64(1.3 + self.random.f64() / 2.0);
        match fault {
            Fault::Nothing | Fault::Skewed => return 0,
            Fault::Killed => self.nodes[n] = self.node(n, 0),
            Fault::ShutDown => {
                let next = self.node(n, 0);
                let node = std::mem::replace(&mut self.nodes[n], next);
                let shut = tokio::task::spawn_blocking(|| node.shut_down()).await.unwrap();
                assert!(shut, "it was told while it started");
            }
            Fault::StoppedShort => self.stop(n, short).await,
            Fault::StoppedLong => self.stop(n, long).await,
            Fault::Crashed => self.crash().await,
            Fault::SessionsEnded => {
                return usize::from(self.server().end_sessions().await > 0);
            }
            Fault::CutShort => self.storm(n, Weather::Refusing, short).await,
            Fault::CutLong => self.storm(n, Weather::Refusing, long).await,
            Fault::Silent => self.storm(n, Weather::Silent, long).await,
            Fault::HalfOpen => self.wires[n].half_open(),
            Fault::Full => self.fill().await,
        }
        1
    }

    fn server(&self) -> &Arc<S> {
        self.server.as_ref().expect("the fault is one of servers")
    }

    async fn stop(&mut self, n: usize, lasts: Duration) {
        self.nodes[n].stop();
        sleep(lasts).await;
        self.nodes[n].go_on();
    }

    async fn storm(&self, n: usize, weather: Weather, lasts: Duration) {
        self.wires[n].set(weather);
        if weather == Weather::Refusing {
            self.wires[n].cut();
        }
        sleep(lasts).await;
        self.wires[n].set(Weather::Clear);
    }

    async fn crash(&self) {
        let (server, down) = (Arc::clone(self.server()), LEASE / 10);
        let crash = move || {
            server.crash();
            std::thread::sleep(down);
            server.restart();
        };
        tokio::task::spawn_blocking(crash).await.unwrap();
    }

    /// Leaves no room for a lease, and then time to come back.
    async fn fill(&self) {
        let disk = self.disk.as_ref().expect("it is on a disk of its own");
        disk.fill();
        sleep(LEASE).await;
        disk.make_room();
        if let Some(server) = &self.server
            && !server.is_up()
        {
            let server = Arc::clone(server);
            tokio::task::spawn_blocking(move || server.restart()).await.unwrap();
        }
        sleep(LEASE).await;
    }

    /// Lets everything come to its end, and looks into it.
    pub(crate) async fn end(self) -> Toll {
        load::finish(self.place.path(), &living(&self.nodes), &self.witness).await;
        let Self { place, nodes, witness, url, .. } = &self;
        let inquest = Inquest::hold(place.path(), witness).await;
        inquest.nothing_is_lost();
        inquest.nothing_stale_was_accepted();
        if effects::are_on(url) {
            inquest.effects_happened_once(&effects::read(url).await);
        }
        witness.shutdown().await.unwrap();
        let _still_live = nodes;
        Toll::of(&inquest)
    }
}
