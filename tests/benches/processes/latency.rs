//! From dispatch in one process to start in another, beside rows that are handed over with bare SQL.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::{
    bare, node, now,
    other::{Other, Role},
    place::Place,
};

/// So many turns of this many tasks each, at 50 a second.
const TURNS: usize = 40;
const TASKS: usize = 25;
const EVERY: Duration = Duration::from_millis(20);

pub(crate) async fn latency(place: &Place, how: &str) {
    let client = place.client().await;
    let giver = bare::Giver::new(place).await;
    let mut node = Other::start(Role::Node(place.clone(), None)).await;
    let mut taker = Other::start(Role::Taker(place.clone())).await;
    let (mut tasks, mut rows) = (Vec::new(), Vec::new());
    // In the first turn everything gets warm.
    for turn in 0..=TURNS {
        let mut arrivals = arrive();
        while let Some(planned) = arrivals.recv().await {
            let client = client.clone();
            tokio::spawn(async move {
                node::clock::dispatch(planned).on(&client).await.expect("stored");
            });
        }
        waits(&mut node, (turn > 0).then_some(&mut tasks)).await;
        let mut arrivals = arrive();
        while let Some(planned) = arrivals.recv().await {
            giver.give(planned);
        }
        waits(&mut taker, (turn > 0).then_some(&mut rows)).await;
    }
    let (ours, floor) = (Waits::of(tasks), Waits::of(rows));
    println!("dispatch to start in another process, 50/s, {how}: {ours}");
    println!("    the same with bare SQL: {floor}");
    println!("    ratio: p50 {:.2}, p99 {:.2}", ours.p50 / floor.p50, ours.p99 / floor.p99);
}

/// Instants that were planned, when they have come.
fn arrive() -> UnboundedReceiver<u64> {
    let (sender, receiver) = mpsc::unbounded_channel();
    // A thread, since an executor's timers tick in milliseconds.
    thread::spawn(move || {
        let (start, begin) = (Instant::now(), now());
        let mut planned = Duration::ZERO;
        for _ in 0..TASKS {
            planned += EVERY;
            thread::sleep(planned.saturating_sub(start.elapsed()));
            let planned = u64::try_from(planned.as_micros()).unwrap_or(u64::MAX);
            if sender.send(begin + planned).is_err() {
                return;
            }
        }
    });
    receiver
}

/// How long each of a turn has waited, by what the other process says.
async fn waits(other: &mut Other, mut into: Option<&mut Vec<u64>>) {
    for _ in 0..TASKS {
        let waited = loop {
            // How many have run is told as well.
            if let Ok(waited) = other.line().await.parse() {
                break waited;
            }
        };
        if let Some(into) = &mut into {
            into.push(waited);
        }
    }
}

/// In milliseconds.
struct Waits {
    p50: f64,
    p90: f64,
    p99: f64,
}

impl Waits {
    fn of(mut micros: Vec<u64>) -> Self {
        micros.sort_unstable();
        let at = |percent: usize| micros[micros.len() * percent / 100] as f64 / 1e3;
        Self { p50: at(50), p90: at(90), p99: at(99) }
    }
}

impl std::fmt::Display for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.2} ms, p90 {:.2}, p99 {:.2}", self.p50, self.p90, self.p99)
    }
}
