//! The whole engine in a simulated world: one seed is one history.
//!
//! Several nodes of the real runtime on one storage, on paused time, everything that is left to chance drawn from a seed; the
//! storage is far away and nodes die, stand still, are cut off, shut down, replaced. `rules` is what has to hold, always.

mod bugs;
mod calls;
mod handlers;
mod history;
mod model;
mod plan;
mod rules;
mod runs;
mod seat;
mod stage;
mod truth;
mod wire;
mod world;

use std::panic;

use crate::{bugs::Bug, plan::Plan, stage::play};

/// Planned panics are no news.
fn keep_quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let planned = info.payload_as_str() == Some("planned");
            if !planned {
                before(info);
            }
        }));
    });
}

#[test]
fn the_same_seed_is_the_same_history() {
    keep_quiet();
    for seed in 0..20 {
        let plan = Plan::of(seed);
        let (one, two) = (play(&plan, None), play(&plan, None));
        let lines = one.history.lines().zip(two.history.lines());
        let differ = lines.enumerate().find(|(_, (one, two))| one != two);
        assert!(one.history == two.history, "seed {seed} is two histories from here: {differ:?}");
    }
}

#[test]
fn nothing_is_broken_in_any_history() {
    keep_quiet();
    let start = std::time::Instant::now();
    let (mut tasks, mut runs) = (0, 0);
    let mut bad = 0;
    for seed in 0..std::env::var("EVERTASK_SEEDS").map_or(200, |it| it.parse().unwrap()) {
        let outcome = play(&Plan::of(seed), None);
        (tasks, runs) = (tasks + outcome.tasks, runs + outcome.runs);
        if let Some(broken) = outcome.broken {
            println!("seed {seed}: {broken:?}\n{}", outcome.guilty);
            bad += 1;
        }
    }
    assert_eq!(bad, 0);
    println!("{tasks} tasks, {runs} runs, {:?}", start.elapsed());
}

#[test]
fn every_planted_bug_is_found() {
    keep_quiet();
    let mut missed = Vec::new();
    for (bug, within) in Bug::ALL {
        let found = (0..*within).find_map(|seed| {
            let broken = play(&Plan::of(seed), Some(*bug)).broken?;
            Some((seed + 1, broken.rule))
        });
        match found {
            Some((seeds, rule)) => println!("{bug:?}: {seeds} seeds, by {rule:?}"),
            None => missed.push(*bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
