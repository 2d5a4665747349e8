//! How often a task asks for memory on its way: stored, run, and both, in memory, with everything on one thread.
//!
//! `cargo bench -p evertask --bench allocations`. The numbers do not depend on the machine, and hardly on the day; so it is also a
//! test, of the bound that a run keeps.

use std::time::Duration;

use allocation_counter::measure;
use evertask::{Runtime, dispatch_all, storage::Memory};
use tokio::runtime;

const TASKS: usize = 10_000;

/// How often a task may ask for memory when it is run.
const RUN_MAX: f64 = 2.5;

#[evertask::handler]
async fn welcome(user_id: u64, email: String) {
    let _ = (user_id, email);
}

fn main() {
    let real = std::env::args().any(|argument| argument == "--bench");
    let tasks = if real { TASKS } else { TASKS / 10 };
    // Its time stands still while anybody works, so that no machine is too slow for its tasks to be quick.
    let mut tokio = runtime::Builder::new_current_thread();
    let tokio = tokio.enable_all().start_paused(true).build().expect("an executor");
    println!("| per task | allocations | bytes |\n|---|---|---|");
    let say = |what: &str, counted: allocation_counter::AllocationInfo| {
        let of = |count: u64| count as f64 / tasks as f64;
        println!("| {what} | {:.1} | {:.0} |", of(counted.count_total), of(counted.bytes_total));
    };
    let node = |memory: &Memory| Runtime::builder().storage(memory.clone()).concurrency(64);

    let memory = Memory::new();
    let client = tokio.block_on(node(&memory).client()).expect("a client");
    let one = |n: usize| welcome::dispatch(n as u64, "user@example.com").on(&client);
    // The first ones fill caches and make tables grow.
    tokio.block_on(async {
        for n in 0..tasks {
            one(n).await.expect("stored");
        }
    });
    say(
        "dispatched one by one",
        measure(|| {
            tokio.block_on(async {
                for n in 0..tasks {
                    one(n).await.expect("stored");
                }
            });
        }),
    );
    say(
        "dispatched in bulk",
        measure(|| {
            let all = (0..tasks).map(|n| welcome::new(n as u64, "user@example.com"));
            tokio
                .block_on(async { dispatch_all(all).on(&client).await.map(drop) })
                .expect("stored");
        }),
    );

    let counted = measure(|| {
        tokio.block_on(async {
            let node = node(&memory).start().await.expect("a node");
            while node.health().await.due.iter().any(|line| line.due > 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            node.shutdown().await.expect("a shutdown");
        });
    });
    let of = |count: u64| count as f64 / (3 * tasks) as f64;
    let run = of(counted.count_total);
    println!("| run | {run:.1} | {:.0} |", of(counted.bytes_total));
    // One is the argument. Of all else there is to be less than one: contexts and futures take the places of those before.
    assert!(run < RUN_MAX, "a task that runs asks for memory {run:.1} times");
    tokio.block_on(client.shutdown()).expect("a shutdown");
}
