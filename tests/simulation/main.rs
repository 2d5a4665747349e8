//! The whole engine in a simulated world: one seed is one history.
//!
//! Several nodes of the real runtime on one storage, on paused time, everything that is left to chance drawn from a seed. The
//! storage is far away, and nodes die, stand still, are cut off, shut down, replaced. [`rules`] is what has to hold, always; [`bugs`]
//! shows that it would be seen.
//!
//! `EVERTASK_SEED=7` plays one history, `EVERTASK_SEEDS=100000` as many new ones as one likes.

/// A dispatch with all that the plan says of its task.
macro_rules! planned {
    ($dispatch:expr, $runtime:expr, $task:expr, $clock:expr) => {{
        let (task, dispatch) = ($task, $dispatch);
        let mut dispatch = dispatch.on($runtime).priority(task.priority).retries(task.retries);
        dispatch = match task.instant {
            true => dispatch.at($clock + task.after),
            false => dispatch.after(task.after),
        };
        if let Some(key) = task.key {
            dispatch = dispatch.key(format!("key {key}"));
        }
        if let Some(after) = task.expires {
            dispatch = dispatch.expires(after);
        }
        let handle = dispatch.await?;
        Ok((handle.id(), handle.dispatched()))
    }};
}

mod almanac;
mod answer;
mod bells;
mod bugs;
mod calls;
mod check;
mod faults;
mod handlers;
mod heart;
mod history;
mod idle;
mod judge;
mod ledger;
mod lives;
mod looks;
mod made_up;
mod misjudgement;
mod mistakes;
mod model;
mod oracle;
mod overlaps;
mod papers;
mod people;
mod plan;
mod rescues;
mod rules;
mod runs;
mod seat;
mod seeds;
mod series;
mod shrink;
mod stage;
mod states;
mod ticks;
mod tides;
mod trouble;
mod truth;
mod turns;
mod unstorable;
mod wall;
mod wire;
mod world;

use std::sync::Mutex;

use crate::{
    bugs::Bug,
    faults::{Fault, Harm},
    plan::Plan,
    seeds::{each, seeds},
    shrink::shrink,
    stage::{Outcome, play},
};

#[test]
fn the_same_seed_is_the_same_history() {
    each(&(0..40).collect::<Vec<_>>(), |seed| {
        let plan = Plan::of(seed);
        let (one, two) = (play(&plan, None), play(&plan, None));
        let lines = one.history.lines().zip(two.history.lines());
        let differ = lines.enumerate().find(|(_, (one, two))| one != two);
        assert!(one.history == two.history, "seed {seed} is two histories from here: {differ:?}");
    });
}

#[test]
fn whatever_goes_wrong_every_rule_holds() {
    let start = std::time::Instant::now();
    let totals = Mutex::new((0, 0, 0));
    each(&seeds(), |seed| {
        let outcome = play(&Plan::of(seed), None);
        if outcome.broken.is_some() {
            if std::env::var_os("EVERTASK_SEED").is_some() {
                println!("all of it:\n{}", outcome.history);
            }
            panic!("{}", report(seed, None, &outcome));
        }
        let mut totals = totals.lock().unwrap();
        *totals = (totals.0 + 1, totals.1 + outcome.tasks, totals.2 + outcome.runs);
    });
    let (histories, tasks, runs) = totals.into_inner().unwrap();
    println!("{histories} histories, {tasks} tasks, {runs} runs in {:?}", start.elapsed());
}

#[test]
fn every_planted_bug_is_found() {
    let found = Mutex::new(Vec::new());
    let bugs: Vec<u64> = (0..Bug::ALL.len() as u64).collect();
    each(&bugs, |n| {
        let (bug, within) = Bug::ALL[n as usize];
        let first = (0..within).find_map(|seed| {
            let broken = play(&Plan::of(seed), Some(bug)).broken?;
            Some((seed + 1, broken.rule))
        });
        found.lock().unwrap().push((n, bug, within, first));
    });
    let mut found = found.into_inner().unwrap();
    found.sort_by_key(|(n, ..)| *n);
    println!("{:<30} {:>5} {:>7}  broken rule", "bug", "seeds", "allowed");
    for (_, bug, within, first) in &found {
        let bug = format!("{bug:?}");
        match first {
            Some((seeds, rule)) => println!("{bug:<30} {seeds:>5} {within:>7}  {rule:?}"),
            None => println!("{bug:<30} {:>5} {within:>7}", "–"),
        }
    }
    assert!(found.iter().all(|(_, _, _, first)| first.is_some()), "some were not found");
}

#[test]
fn in_a_quiet_world_all_comes_as_foretold() {
    each(&(0..100).collect::<Vec<_>>(), |seed| {
        let plan = Plan::quiet(seed);
        if let Some(broken) = play(&plan, None).broken {
            panic!("{:?}: {}\n{plan}", broken.rule, broken.how);
        }
    });
}

/// Whatever a node is about to ask of the storage, or has just asked: it dies there, or the answer is lost.
#[test]
fn a_crash_at_any_call_of_a_history_breaks_no_rule() {
    let start = std::time::Instant::now();
    let mut each_call = Vec::new();
    for plan in Plan::short() {
        let calm = play(&plan, None);
        assert!(calm.broken.is_none(), "{:?}", calm.broken);
        for ((place, call), times) in calm.calls {
            for nth in 0..times {
                for harm in [Harm::CrashBefore, Harm::CrashAfter, Harm::LosesReply] {
                    let mut plan = plan.clone();
                    plan.faults.push(Fault::Call { place, call, nth, harm });
                    each_call.push(plan);
                }
            }
        }
    }
    let numbers: Vec<u64> = (0..each_call.len() as u64).collect();
    each(&numbers, |n| {
        let plan = &each_call[n as usize];
        if let Some(broken) = play(plan, None).broken {
            panic!("{:?}: {}\n{plan}", broken.rule, broken.how);
        }
    });
    println!("{} histories in {:?}", each_call.len(), start.elapsed());
}

#[test]
fn a_failure_is_told_by_the_shortest_history_that_shows_it() {
    let bug = Some(Bug::NoFence);
    let failing = |seed: &u64| {
        let plan = Plan::of(*seed);
        plan.faults.len() >= 10 && play(&plan, bug).broken.is_some()
    };
    let mut seeds: Vec<u64> = (0..300).filter(failing).take(3).collect();
    assert_eq!(seeds.len(), 3, "some of them are long and fail");
    // Some failures take more to be seen than others.
    seeds.sort_by_cached_key(|seed| {
        let plan = Plan::of(*seed);
        let broken = play(&plan, bug).broken.expect("it failed before");
        let (short, outcome) = shrink(&plan, bug, broken.rule);
        assert_eq!(outcome.broken.map(|broken| broken.rule), Some(broken.rule));
        assert!(2 * short.size() <= plan.size(), "{short}");
        (short.faults.len().max(short.tasks.len()), *seed)
    });
    let (plan, seed) = (Plan::of(seeds[0]), seeds[0]);
    let rule = play(&plan, bug).broken.expect("it failed before").rule;
    let (short, _) = shrink(&plan, bug, rule);
    assert!(short.faults.len() <= 3 && short.tasks.len() <= 3, "{short}");
    let report = report(seed, bug, &play(&plan, bug));
    assert!(report.contains(&format!("EVERTASK_SEED={seed}")), "{report}");
    assert!(report.contains("changes nothing"), "it says what the rule says: {report}");
    assert!(report.lines().count() < 60, "{report}");
}

/// What people read when a rule was broken.
fn report(seed: u64, bug: Option<Bug>, outcome: &Outcome) -> String {
    let Some(broken) = &outcome.broken else { return String::new() };
    let (promise, says) = broken.rule.says();
    let (plan, shortest) = shrink(&Plan::of(seed), bug, broken.rule);
    let how = shortest.broken.as_ref().map_or(&broken.how, |broken| &broken.how);
    let again = "cargo test -p evertask-tests --test simulation -- rule --nocapture";
    format!(
        "seed {seed} breaks {:?} (promise {promise}: {says})\n{how}\n\n\
         the shortest plan that does the same:\n{plan}\n\
         the end of its history:\n{}\n\
         the whole again: EVERTASK_SEED={seed} {again}\n",
        broken.rule, shortest.guilty
    )
}
