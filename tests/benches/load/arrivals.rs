//! How long a task waits for its start, while tasks arrive whether or not those before have begun.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::{
    Outcome, Scale,
    floor::Floor,
    rate::Capacity,
    subject::{Fresh, Subject},
    table::{Table, percentile},
    work::{Welcome, now, ran, until_ran, waited, welcome},
};

/// One storage's latency, or its floor's, at one load.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) storage: &'static str,
    pub(crate) floor: bool,
    /// Arrivals per second.
    pub(crate) rate: f64,
    /// Milliseconds that 50, 99 and 99.9 of a hundred waited at most.
    pub(crate) waited: [f64; 3],
}

/// At 10, 25, 50 and 80 % of what it can do, beside the floor at the same rate; and at half beside the floor at half of what that one
/// can do, too, since where it is quicker by far it has nothing to do at the same.
pub(crate) async fn curves(
    scale: &Scale,
    subject: &Subject,
    capacity: Capacity,
    table: &mut Table,
) -> Outcome<Vec<Point>> {
    let mut points = Vec::new();
    for percent in [10, 25, 50, 80] {
        let rate = capacity.run * f64::from(percent) / 100.0;
        let (mut runs, mut floors) = (Vec::new(), Vec::new());
        for repetition in 0..scale.repetitions as u64 {
            runs.push(run(scale, &subject.fresh()?, rate, repetition).await?);
            floors.push(floor(scale, subject, rate, repetition).await?);
        }
        let point = |floor, rate, waited| Point { storage: subject.name(), floor, rate, waited };
        let (run, same) = (point(false, rate, middle(&runs)), point(true, rate, middle(&floors)));
        table.latency(percent, "", &run, &same);
        if percent == 50 {
            let (rate, mut floors) = (capacity.floor / 2.0, Vec::new());
            for repetition in 0..scale.repetitions as u64 {
                floors.push(floor(scale, subject, rate, repetition).await?);
            }
            let beside = format!(", beside the floor at {rate:.0}/s, half of its own load");
            table.latency(percent, &beside, &run, &point(true, rate, middle(&floors)));
        }
        points.extend([run, same]);
    }
    Ok(points)
}

/// The median of each.
pub(crate) fn middle(runs: &[[f64; 3]]) -> [f64; 3] {
    [0, 1, 2].map(|at| {
        let mut of: Vec<_> = runs.iter().map(|run| run[at]).collect();
        percentile(&mut of, 50)
    })
}

pub(crate) async fn run(
    scale: &Scale,
    storage: &Fresh<'_>,
    rate: f64,
    seed: u64,
) -> Outcome<[f64; 3]> {
    let node = storage.builder().await?.start().await?;
    let (before, mut arrivals) = (ran(), arrive(rate, scale.time, seed));
    let dispatches = node.clone();
    // On the executor, as a program's own requests are, and not on a thread that is in the way of its workers.
    let arrive = tokio::spawn(async move {
        let mut arrived = 0;
        while let Some(task) = arrivals.recv().await {
            arrived += 1;
            let node = dispatches.clone();
            tokio::spawn(async move {
                if let Err(error) = welcome::dispatch(task).on(&node).await {
                    eprintln!("not stored: {error}");
                }
            });
        }
        arrived
    });
    let arrived = arrive.await?;
    let started = tokio::time::timeout(Duration::from_secs(60), until_ran(before + arrived)).await;
    node.shutdown().await?;
    started.map_err(|_| "not all that arrived have run")?;
    Ok(took(scale))
}

async fn floor(scale: &Scale, subject: &Subject, rate: f64, seed: u64) -> Outcome<[f64; 3]> {
    let floor = Floor::open(subject, &scale.place).await?;
    floor.serve(arrive(rate, scale.time, seed)).await?;
    Ok(took(scale))
}

/// Without those of the first fifth, in which all gets warm.
fn took(scale: &Scale) -> [f64; 3] {
    let all = waited();
    let cold = if scale.real { all.len() / 5 } else { 0 };
    let mut warm: Vec<_> = all[cold..].iter().map(|micros| f64::from(*micros) / 1e3).collect();
    [500, 990, 999].map(|permille| permille_of(&mut warm, permille))
}

fn permille_of(numbers: &mut [f64], permille: usize) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let at = (numbers.len() * permille / 1_000).min(numbers.len().saturating_sub(1));
    numbers.get(at).copied().unwrap_or(f64::NAN)
}

/// Tasks that arrive at random, so many a second in the mean, each with the instant at which it was to.
fn arrive(rate: f64, time: Duration, seed: u64) -> UnboundedReceiver<Welcome> {
    let (sender, receiver) = mpsc::unbounded_channel();
    // A thread, since an executor's timers tick in milliseconds.
    thread::spawn(move || {
        let mut random = fastrand::Rng::with_seed(seed);
        let (start, begin) = (Instant::now(), now());
        let mut planned = Duration::ZERO;
        loop {
            // The gaps between independent arrivals.
            planned += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / rate);
            if planned >= time {
                return;
            }
            if let Some(early) = planned.checked_sub(start.elapsed()) {
                thread::sleep(early);
            }
            if sender.send(Welcome::at(begin + planned)).is_err() {
                return;
            }
        }
    });
    receiver
}
