//! Processes that are killed, told to shut down, stopped for longer than a lease, and have clocks an hour off, at random and under
//! load.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    LEASE, effects,
    inquest::Inquest,
    journal::{self, Journal},
    load,
    node::{Node, living},
    on_every_server,
    server::Server,
    toll::{Tail, Toll},
};

/// How many processes there are beside the one of the test.
const NODES: usize = 3;
/// How long a process is stopped, at least and at most: longer than a lease.
const STOPPED_FOR: (Duration, Duration) =
    (Duration::from_millis(2_400), Duration::from_millis(3_400));
/// How much later than it should a rescue may come where the machine itself was late.
const HICCUP: Duration = LEASE;

on_every_server!(each seed: killed_stopped_and_skewed_nodes_lose_nothing_and_overlap_nowhere);

/// SQLite knows of a death at once, and its clock is that of the host, so there is no other to be off.
#[tokio::test(flavor = "multi_thread")]
async fn killed_and_stopped_processes_on_one_file_lose_nothing_and_overlap_nowhere() {
    let place = tempfile::tempdir().unwrap();
    for (n, seed) in crate::seeds().enumerate() {
        let url = format!("sqlite://{}", place.path().join(format!("{n}.db")).display());
        chaos(&url, seed, 6, 0).await;
    }
}

async fn killed_stopped_and_skewed_nodes_lose_nothing_and_overlap_nowhere(
    server: Arc<impl Server>,
    seed: u64,
) {
    chaos(&server.url(), seed, 13, 1).await;
}

/// A process that was killed, and when.
struct Death {
    pid: u32,
    at: SystemTime,
    /// It had been running all the time before.
    clean: bool,
}

async fn chaos(url: &str, seed: u64, seconds: u64, hours: i32) {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path();
    let journal = Journal::open(directory);
    let mut random = fastrand::Rng::with_seed(seed);
    let effects = effects::are_on(url);
    if effects {
        effects::prepare(url).await;
    }
    // One that is neither killed nor stopped, so that there always is somebody to notice.
    let witness = load::builder(url, &journal).start().await.unwrap();
    tokio::spawn(load::tell_events(witness.clone(), journal.clone()));
    let seed = random.u64(..);
    tokio::spawn(load::dispatch(witness.clone(), journal, directory.to_owned(), seed, effects));
    let lag = Lag::measure();
    let mut nodes: Vec<_> =
        (0..NODES).map(|n| spawn(url, directory, &mut random, hours * (n as i32 - 1))).collect();
    let (mut deaths, mut stops, mut leaving) = (Vec::new(), Vec::new(), Vec::new());
    let end = Instant::now() + crate::length(seconds);
    let mut wake: Vec<(usize, Instant)> = Vec::new();
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(random.u64(50..500))).await;
        wake.retain(|(n, at)| {
            let sleeps = *at > Instant::now();
            if !sleeps && nodes[*n].0.is_stopped() {
                nodes[*n].0.go_on();
            }
            sleeps
        });
        let n = random.usize(..NODES);
        match random.u32(..10) {
            0..3 => {
                wake.retain(|(sleeper, _)| *sleeper != n);
                let (pid, clean) = (nodes[n].0.pid(), !nodes[n].1);
                let skew = hours * random.i32(-1..=1);
                // The old one is killed when it is replaced.
                let at = SystemTime::now();
                nodes[n] = spawn(url, directory, &mut random, skew);
                deaths.push(Death { pid, at, clean });
            }
            7 if !nodes[n].0.is_stopped() => {
                let skew = hours * random.i32(-1..=1);
                let next = spawn(url, directory, &mut random, skew);
                let (old, _) = std::mem::replace(&mut nodes[n], next);
                let pid = old.pid();
                let ends = tokio::task::spawn_blocking(move || old.shut_down());
                leaving.push(async move { (pid, ends.await.unwrap()) });
            }
            3..7 if !nodes[n].0.is_stopped() => {
                nodes[n].0.stop();
                nodes[n].1 = true;
                stops.push(nodes[n].0.pid());
                let (least, most) = STOPPED_FOR;
                wake.push((n, Instant::now() + least + (most - least).mul_f64(random.f64())));
            }
            _ => {}
        }
    }
    let over = journal::now();
    for (node, _) in nodes.iter_mut().filter(|(node, _)| node.is_stopped()) {
        node.go_on();
    }
    let mut left = 0;
    for ends in leaving {
        match ends.await {
            // Whoever leaves in order has nothing left that could be taken from it.
            (_, true) => left += 1,
            // One that was told before it had begun to listen.
            (pid, false) => deaths.push(Death { pid, at: SystemTime::now(), clean: false }),
        }
    }
    load::finish(directory, &living(nodes.iter().map(|(node, _)| node)), &witness).await;
    let worst_lag = lag.worst();
    drop(nodes);
    let inquest = Inquest::hold(directory, &witness).await;
    witness.shutdown().await.unwrap();
    println!("{left} left in order; {}", Tail::since(over, &inquest));
    judge(&inquest, &deaths, &stops, worst_lag, hours);
    if effects {
        inquest.effects_happened_once(&effects::read(url).await);
    }
}

/// A process, and whether it was ever stopped.
fn spawn(url: &str, directory: &Path, random: &mut fastrand::Rng, hours: i32) -> (Node, bool) {
    (Node::spawn(url, directory, random.u64(..), hours), false)
}

fn judge(inquest: &Inquest, deaths: &[Death], stops: &[u32], worst_lag: Duration, hours: i32) {
    inquest.nothing_is_lost();
    inquest.nothing_stale_was_accepted();
    let mut rescues = Vec::new();
    for death in deaths.iter().filter(|death| death.clean) {
        // One that died while it started was nobody yet.
        if let Some((node, _)) = inquest.nodes.get(&death.pid) {
            rescues.extend(inquest.rescues(*node, death.at));
        }
    }
    let robbed = inquest.robbed();
    let harmed = || deaths.iter().map(|death| &death.pid).chain(stops);
    for node in &robbed {
        let is_it = |pid: &u32| inquest.nodes.get(pid).is_some_and(|(it, _)| it == node);
        assert!(harmed().any(is_it), "node {node} was robbed and had neither died nor stopped");
    }
    let slowest = rescues.iter().max().copied().unwrap_or_default();
    println!(
        "{} tasks; {} kills, {} stops; {} attempts lost; {} of nodes that ran until they were killed, the last {slowest:?} \
         after; {} stale writes refused; the machine was late by {worst_lag:?} at worst",
        inquest.tasks.len(),
        deaths.len(),
        stops.len(),
        robbed.len(),
        rescues.len(),
        inquest.refused,
    );
    let (stopped, known) = inquest.stops();
    println!("{stopped} ends of runs that were stopped, {known} of them looked into");
    println!("{}", Toll::of(inquest));
    assert!(!rescues.is_empty(), "the kills never hit anything");
    assert!(
        inquest.refused > 0 || stops.is_empty() || hours == 0,
        "no stop was long enough to be noticed"
    );
    // A machine with too few cores cannot do in time what it cannot do at all; but no hiccup excuses everything.
    // On a file a death is known at once; but whoever is stopped while it writes keeps the file from all others meanwhile.
    let known_after = if hours == 0 { STOPPED_FOR.1 } else { LEASE };
    let limit = known_after + Duration::from_secs(1) + (2 * worst_lag).min(HICCUP);
    assert!(slowest <= limit, "a task waited {slowest:?} for its rescue; at most {limit:?}");
    if hours != 0 && evertask_servers::faketime().is_some() {
        let hours: Vec<u64> = inquest.nodes.values().map(|(_, seen)| *seen).collect();
        let apart = hours.iter().max().unwrap() - hours.iter().min().unwrap();
        assert!(apart > 3_500, "no clock was an hour off: {hours:?}");
    }
}

/// How late a thread of this machine is that wants to run at a certain time.
struct Lag {
    worst: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Lag {
    fn measure() -> Self {
        let lag = Self { worst: Arc::default(), over: Arc::default() };
        let (worst, over) = (Arc::clone(&lag.worst), Arc::clone(&lag.over));
        thread::spawn(move || {
            let pause = Duration::from_millis(20);
            while !over.load(Ordering::Relaxed) {
                let start = Instant::now();
                thread::sleep(pause);
                let late = start.elapsed().saturating_sub(pause).as_micros();
                worst.fetch_max(u64::try_from(late).unwrap(), Ordering::Relaxed);
            }
        });
        lag
    }

    fn worst(&self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        Duration::from_micros(self.worst.load(Ordering::Relaxed))
    }
}
