//! Many suspects, and ordinary work beside them: both get on, by turns.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use evertask::{
    Runtime, State, TaskId, TaskState,
    storage::{Inspect, Memory},
};
use tokio::time::Instant;

use crate::{
    claims::{held, make_suspect},
    log::Log,
};

const SECOND: Duration = Duration::from_secs(1);
/// That of a node unless one says otherwise.
const LEASE: Duration = Duration::from_secs(15);
const SLOTS: usize = 4;

/// When each run of ordinary work ended.
type Ends = Arc<Mutex<Vec<Instant>>>;

#[evertask::handler]
async fn ordinary(seconds: u64, ends: State<Ends>) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    ends.lock().unwrap().push(Instant::now());
}

/// A node, and suspects that take so many seconds each.
struct Scene {
    node: Runtime,
    memory: Memory,
    suspects: Vec<TaskId>,
    ends: Ends,
    start: Instant,
}

impl Scene {
    async fn new(suspects: usize, seconds: u64) -> Self {
        let (memory, ends) = (Memory::new(), Ends::default());
        let mut made = Vec::new();
        for _ in 0..suspects {
            made.push(make_suspect(&memory, seconds).await);
        }
        let start = Instant::now();
        let builder = Runtime::builder().storage(memory.clone()).discover(false);
        let builder = builder.handler::<ordinary>().handler::<held>().concurrency(SLOTS);
        let builder = builder.state(Log::default()).state(Arc::clone(&ends));
        Self { node: builder.start().await.unwrap(), memory, suspects: made, ends, start }
    }

    async fn work(&self, tasks: usize, seconds: u64) {
        let work = (0..tasks).map(|_| ordinary::new(seconds));
        evertask::dispatch_all(work).on(&self.node).await.unwrap();
    }

    async fn completed(&self) -> usize {
        let mut completed = 0;
        for id in &self.suspects {
            let state = self.memory.task(*id).await.unwrap().unwrap().state;
            completed += usize::from(state == TaskState::Completed);
        }
        completed
    }

    /// How long it takes until all suspects have completed, from the start.
    async fn cleared(&self) -> Duration {
        crate::until(async || self.completed().await == self.suspects.len()).await;
        self.start.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn many_short_suspects_wait_for_a_clear_desk_once() {
    let scene = Scene::new(20, 0).await;
    // Ten times as much as there are slots, and each time they would have to be waited for.
    scene.work(10 * SLOTS, 3).await;
    let took = scene.cleared().await;
    // The node is young when it hears of them, and all slots are taken again when it asks again.
    assert!(took < 2 * 3 * SECOND + SECOND, "{took:?}");
    assert_eq!(scene.ends.lock().unwrap().len(), 2 * SLOTS, "what ran before them");
}

#[tokio::test(start_paused = true)]
async fn a_line_of_suspects_on_an_idle_node_takes_no_longer_than_they_run() {
    // Longer than a lease, so that others could join.
    let scene = Scene::new(5, 20).await;
    let took = scene.cleared().await;
    assert!(took < 102 * SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn ordinary_work_goes_on_for_as_long_as_it_had_to_wait_for_suspects() {
    let scene = Scene::new(20, 10).await;
    let alone = 100;
    scene.work(alone * SLOTS, 1).await;
    crate::until(async || scene.ends.lock().unwrap().len() == alone * SLOTS).await;
    let (took, beside) = (scene.start.elapsed(), scene.completed().await);
    // The half of the time, and at most one pause more.
    assert!(took < Duration::from_secs(2 * alone as u64) + 2 * LEASE, "{took:?}");
    let ends = scene.ends.lock().unwrap().clone();
    let pause = ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(pause <= 2 * LEASE + SECOND, "{pause:?}");
    assert!(beside >= 6, "{beside} suspects ran meanwhile");
    let took = scene.cleared().await - took;
    assert!(took < (20 - beside as u32) * 10 * SECOND + 2 * LEASE, "{took:?} for the others");
}
