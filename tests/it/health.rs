//! What `health()` says of each loop: that it fails while it does, why, and that it is well again; and no other is taken for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use evertask::{Health, LoopHealth, Runtime};

use crate::faulty::{Fault, Faulty};

#[evertask::handler(retries = 0)]
async fn seen_to() {}

#[evertask::handler(every = "1h")]
async fn hourly() {}

/// A loop, and the call of the storage that it lives by.
const LOOPS: [(&str, &str); 8] = [
    ("dispatch", "enqueue"),
    ("claim", "claim"),
    ("settle", "settle"),
    ("renew", "renew"),
    ("peers", "peers"),
    ("prune", "prune"),
    ("tick", "due_schedules"),
    ("declare", "schedules"),
];

fn of<'h>(health: &'h Health, name: &str) -> &'h LoopHealth {
    health.loops.iter().find(|it| it.name == name).expect("a loop of that name")
}

fn failing(health: &Health) -> Vec<&str> {
    health.loops.iter().filter(|it| it.failing.is_some()).map(|it| it.name).collect()
}

/// A node of which one kind of call fails for as long as is said, and always something to do.
async fn node_that_fails(call: &'static str) -> (Runtime, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    let storage = Faulty::when(move |name, _| {
        (name == call && failing.load(Ordering::SeqCst)).then_some(Fault::Fails)
    });
    let builder = Runtime::builder().storage(storage).discover(false);
    let builder = builder.handler::<seen_to>().handler::<hourly>();
    let node = builder.start().await.unwrap();
    let work = node.clone();
    tokio::spawn(async move {
        loop {
            // One that is not stored says so in what is asked here.
            let _stored = seen_to::dispatch().on(&work).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    });
    (node, fails)
}

/// Looks once a second, on paused time, until the node is so.
async fn once(node: &Runtime, what: &str, so: impl Fn(&Health) -> bool) -> Health {
    // The longest pause of any loop is an hour, of the one that prunes.
    for _ in 0..7_200 {
        let health = node.health().await;
        if so(&health) {
            return health;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("it never became so: {what}: {:#?}", node.health().await);
}

#[tokio::test(start_paused = true)]
async fn each_loop_that_fails_is_named_with_the_reason_and_is_well_again_afterwards() {
    for (name, call) in LOOPS {
        let (node, fails) = node_that_fails(call).await;
        let needed = |health: &Health| of(health, name).succeeded.is_some();
        let health = once(&node, &format!("{name} is needed"), needed).await;
        assert!(health.ok && failing(&health).is_empty(), "{name}: {health:#?}");

        fails.store(true, Ordering::SeqCst);
        let health = once(&node, &format!("{name} fails"), |it| !failing(it).is_empty()).await;
        let (_, why) = of(&health, name).failing.clone().expect("it is the one that fails");
        assert!(why.contains("the connection broke"), "{name}: {why}");
        let ill = |health: &Health| of(health, name).failing.as_ref().map(|(since, _)| *since);
        let for_long = |health: &Health| ill(health) > Some(Duration::from_secs(10));
        let health = once(&node, &format!("{name} fails for long"), for_long).await;
        assert!(!health.ok, "{name}: {health:#?}");
        // Who declares asks by the same call what time it is.
        let mut told = failing(&health);
        told.retain(|it| *it == name || (name, *it) != ("tick", "declare"));
        assert_eq!(told, [name], "no other is taken for it");

        fails.store(false, Ordering::SeqCst);
        let health =
            once(&node, &format!("{name} is well again"), |it| failing(it).is_empty()).await;
        assert!(health.ok, "{name}: {health:#?}");
        node.shutdown().await.unwrap();
    }
}
