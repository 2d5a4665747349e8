//! What each kind of fault costs by itself: how many runs it cuts off, how many that had done their work are done again, and for
//! how long a run that is over may still become one of those.
//!
//! `cargo bench -p evertask-tests --bench duplicates [-- WORD …]` prints a Markdown table, a row for each kind of fault on each
//! storage; with words, only rows that have all of them. Without `--bench` it only shows that it runs. `EVERTASK_CHAOS_SECONDS`
//! says how long each fault is repeated, `EVERTASK_SEED` with which seed.
//!
//! Processes, handlers, journals and the inquest are those of the chaos tests, and what those hold to be wrong is an error here.

#[allow(dead_code, reason = "the chaos tests use all of it, here as in what follows")]
#[path = "../../chaos/effects.rs"]
mod effects;
mod fault;
#[allow(dead_code)]
#[path = "../../chaos/inquest.rs"]
mod inquest;
#[allow(dead_code)]
#[path = "../../chaos/journal.rs"]
mod journal;
#[allow(dead_code)]
#[path = "../../chaos/load.rs"]
mod load;
#[allow(dead_code)]
#[path = "../../chaos/node.rs"]
mod node;
#[allow(dead_code)]
#[path = "../../chaos/process.rs"]
mod process;
mod scene;
#[allow(dead_code)]
#[path = "../../chaos/server.rs"]
mod server;
mod storage;
#[path = "../../chaos/time.rs"]
mod time;
#[allow(dead_code)]
#[path = "../../chaos/toll.rs"]
mod toll;
#[allow(dead_code)]
#[path = "../../chaos/wire.rs"]
mod wire;

use std::time::Duration;

pub(crate) use self::time::{LEASE, length, until};
use self::{fault::Fault, storage::Storage, toll::Toll};

/// So often each fault is tried, with a seed of its own.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=3;

fn main() {
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // The processes that faults happen to are this program as well.
    if executor.block_on(node::live()) {
        return;
    }
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let real = arguments.iter().any(|argument| argument == "--bench");
    let words: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    println!(
        "| fault | storage | faults | tasks | runs | cut off, run again | done, run again | stale ends refused | accepted twice | \
         window p50 | p99 | max |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for storage in Storage::ALL {
        for fault in Fault::ALL.into_iter().filter(|fault| storage.may_suffer(*fault)) {
            let row = format!("{fault} {storage}");
            if !words.iter().all(|word| row.contains(word.as_str())) {
                continue;
            }
            if !real && (fault, storage) != (Fault::Killed, Storage::Sqlite) {
                continue;
            }
            if let Some((count, toll)) = executor.block_on(rounds(storage, fault, real)) {
                print(fault, storage, count, &toll);
            }
        }
    }
}

/// How often the fault happened, and what that has cost. `None`, and told loudly, where it cannot be done.
async fn rounds(storage: Storage, fault: Fault, real: bool) -> Option<(usize, Toll)> {
    let asked = std::env::var("EVERTASK_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = match asked {
        Some(seed) => seed..=seed,
        None if real => SEEDS,
        None => 1..=1,
    };
    let seconds = if real { length(fault.seconds()) } else { Duration::from_secs(1) };
    let (mut count, mut all) = (0, Toll::default());
    for seed in seeds {
        eprintln!("{fault} on {storage}, EVERTASK_SEED={seed} …");
        let (times, toll) = storage.suffer(fault, seed, seconds).await?;
        assert_eq!(toll.twice, 0, "{fault} on {storage}: {toll}");
        count += times;
        all += toll;
    }
    Some((count, all))
}

fn print(fault: Fault, storage: Storage, count: usize, toll: &Toll) {
    let millis = |percent| match toll.window(percent) {
        long if long >= Duration::from_secs(1) => format!("{:.1} s", long.as_secs_f64()),
        short if short >= Duration::from_millis(10) => {
            format!("{:.0} ms", short.as_secs_f64() * 1e3)
        }
        short => format!("{:.1} ms", short.as_secs_f64() * 1e3),
    };
    let Toll { tasks, runs, cut_off, repeated, refused, twice, .. } = toll;
    let (p50, p99, max) = (millis(50), millis(99), millis(100));
    println!(
        "| {fault} | {storage} | {count} | {tasks} | {runs} | {cut_off} | {repeated} | {refused} | {twice} | {p50} | {p99} | {max} |"
    );
}
