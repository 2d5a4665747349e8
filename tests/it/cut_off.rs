//! A node that alone is out of touch with its storage: it stops what others may be running by then, and takes up what it had seized.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use evertask::{Context, Runtime, State, storage::Storage};

use crate::{
    faulty::{Fault, Faulty},
    log::Log,
};

/// Out of touch with its storage while the rest of the world is not: what `renew` and `join` meet while this says so.
fn cut_off_while(cut: &Arc<AtomicBool>) -> Faulty {
    let cut = Arc::clone(cut);
    Faulty::when(move |_, _| cut.load(Ordering::SeqCst).then_some(Fault::Fails))
}

#[evertask::handler(retries = 0)]
async fn endless(log: State<Log>, ctx: Context) {
    log.add(format!("begun {}", ctx.attempt()));
    let _told = Dropped(&log);
    std::future::pending::<()>().await;
}

struct Dropped<'l>(&'l Log);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.add("dropped");
    }
}

/// Promise 3 and 4: others take a node for dead that has been silent for its lease, so it stops what they may be running by then.
#[tokio::test(start_paused = true)]
async fn who_is_out_of_touch_for_its_lease_stops_what_runs_and_not_sooner() {
    let (cut, log) = (Arc::new(AtomicBool::new(false)), Log::default());
    let storage = cut_off_while(&cut);
    let builder = Runtime::builder().storage(storage.clone()).discover(false).state(log.clone());
    let node = builder.handler::<endless>().concurrency(1).start().await.unwrap();
    let task = endless::dispatch().on(&node).await.unwrap();
    crate::until(async || log.len() == 1).await;
    // Shorter than a lease, however often.
    for _ in 0..3 {
        cut.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(11)).await;
        cut.store(false, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(log.len(), 1, "an outage that is shorter than a lease stops nothing");
    cut.store(true, Ordering::SeqCst);
    let start = tokio::time::Instant::now();
    crate::until(async || log.len() == 2).await;
    let after = start.elapsed();
    assert_eq!(log.taken(), ["begun 1", "dropped"]);
    let lease = Duration::from_secs(15);
    // The last sign of life was sent up to a fifth of a lease before.
    assert!(after <= lease && after >= lease * 3 / 4, "after {after:?}");
    // Nothing begins meanwhile, and nobody has taken it: it goes on once the node is in touch again.
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(log.len(), 2, "{:?}", log.taken());
    cut.store(false, Ordering::SeqCst);
    crate::until(async || log.len() == 3).await;
    assert_eq!(log.taken()[2], "begun 1", "no attempt was spent");
    let info = task.info().await.unwrap().unwrap();
    let told = info.attempts[0].error.clone().unwrap_or_default();
    assert!(told.contains("had not reached the storage for its lease of 15s"), "{told}");
    node.shutdown().await.unwrap();
}

/// A claim is answered when the node has been out of touch for its lease meanwhile and is back: what it was given others may run.
#[tokio::test(start_paused = true)]
async fn what_a_claim_brings_from_before_its_node_was_out_of_touch_does_not_begin() {
    let (armed, cut) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (first, down) = (Arc::clone(&armed), Arc::clone(&cut));
    let storage = Faulty::when(move |name, _| {
        let late = name == "claim" && first.swap(false, Ordering::SeqCst);
        down.fetch_or(late, Ordering::SeqCst);
        let fails = down.load(Ordering::SeqCst).then_some(Fault::Fails);
        if late { Some(Fault::Late) } else { fails }
    });
    let (log, lease) = (Log::default(), Duration::from_secs(1));
    let builder = Runtime::builder().storage(storage.clone()).discover(false).state(log.clone());
    let node = builder.handler::<endless>().concurrency(1).lease(lease).start().await.unwrap();
    tokio::time::sleep(lease).await;
    armed.store(true, Ordering::SeqCst);
    let task = endless::dispatch().on(&node).await.unwrap();
    crate::until(async || cut.load(Ordering::SeqCst)).await;
    tokio::time::sleep(lease * 3 / 2).await;
    cut.store(false, Ordering::SeqCst);
    crate::until(async || log.len() > 0).await;
    let info = task.info().await.unwrap().unwrap();
    assert_eq!((info.lease, log.taken()), (2, vec!["begun 1".to_owned()]));
}

/// What was taken over while the answer was lost is judged all the same, and written down.
#[tokio::test(start_paused = true)]
async fn a_seizure_whose_answer_is_lost_is_taken_up() {
    let lost = AtomicBool::new(false);
    let storage = Faulty::when(move |name, _| {
        (name == "seize" && !lost.swap(true, Ordering::SeqCst)).then_some(Fault::LosesReply)
    });
    let log = Log::default();
    let builder = || {
        let builder = Runtime::builder().storage(storage.clone()).discover(false);
        builder.state(log.clone()).handler::<endless>()
    };
    let first = builder().start().await.unwrap();
    let task = endless::dispatch().on(&first).await.unwrap();
    crate::until(async || log.len() == 1).await;
    let second = builder().start().await.unwrap();
    storage.inner.leave(first.health().await.node).await.unwrap();
    crate::until(async || log.len() >= 3).await;
    let info = task.info().await.unwrap().unwrap();
    let ends: Vec<_> = info.attempts.iter().map(|attempt| attempt.end).collect();
    assert!(ends.contains(&evertask::AttemptEnd::Lost), "{info:?}");
    drop((first, second));
}
