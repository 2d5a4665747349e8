//! A node, and what it says of the tasks that begin on it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use evertask::Runtime;

use crate::{now, place::Place};

/// How many [`noop`]s began in this process, and when the last one did.
static RAN: AtomicU64 = AtomicU64::new(0);
static LAST: AtomicU64 = AtomicU64::new(0);

/// Says how many microseconds it waited for its start.
#[evertask::handler(queue = "clock")]
pub(crate) async fn clock(planned: u64) {
    println!("{}", now().saturating_sub(planned));
}

#[evertask::handler]
pub(crate) async fn noop(text: String) {
    let _ = text;
    RAN.fetch_add(1, Ordering::Relaxed);
    LAST.fetch_max(now(), Ordering::Relaxed);
}

pub(crate) async fn start(place: &Place, slots: Option<usize>) -> Runtime {
    let mut builder = place.builder().await;
    if let Some(slots) = slots {
        builder = builder.concurrency(slots);
    }
    let node = builder.start().await.expect("a node");
    // How many have run, and when the last one began, as often as it is worth telling.
    tokio::spawn(async {
        let mut said = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let (ran, last) = (RAN.load(Ordering::Relaxed), LAST.load(Ordering::Relaxed));
            if ran != said {
                said = ran;
                println!("{ran} {last}");
            }
        }
    });
    node
}
