//! A schedule of every second, while the nodes that take its ticks are killed, stopped, and have clocks an hour off, and while it is
//! stored again or paused: each tick makes one task, none is lost, none is made twice, none while it is paused.

use std::{
    collections::BTreeMap,
    future::IntoFuture,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use evertask::{Missed, Overlap, Page, Runtime, TaskFilter, TaskInfo, schedule::every_second};

use crate::{
    LEASE, effects,
    journal::Journal,
    load::{self, beat},
    node::{Node, living},
    on_every_server,
    server::Server,
};

const NODES: usize = 3;

on_every_server!(each_tick_makes_one_task_on_a_server_whoever_dies);

#[tokio::test(flavor = "multi_thread")]
async fn each_tick_makes_one_task_on_one_file_whoever_dies() {
    let place = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", place.path().join("tasks.db").display());
    chaos(&url, 8, 0).await;
}

async fn each_tick_makes_one_task_on_a_server_whoever_dies(server: Arc<impl Server>) {
    chaos(&server.url(), 12, 1).await;
}

async fn chaos(url: &str, seconds: u64, hours: i32) {
    let place = tempfile::tempdir().unwrap();
    let (directory, journal) = (place.path(), Journal::open(place.path()));
    let mut random = fastrand::Rng::with_seed(crate::seed());
    if effects::are_on(url) {
        effects::prepare(url).await;
    }
    // It stores the schedules and looks; the ticks are the others' to take.
    let client = load::builder(url, &journal).client().await.unwrap();
    // One that comes up often enough to be hit by every kill, and one that comes to hundreds at once behind a pause.
    let all = Missed::All(Duration::from_secs(3600));
    let store = |dispatch: evertask::Recurring<beat>, key: &str| {
        let dispatch = dispatch.key(key).missed(all).overlap(Overlap::Allow);
        dispatch.on(&client).into_future()
    };
    store(beat::dispatch().every(every_second()), "second").await.unwrap();
    store(beat::dispatch().every(Duration::from_millis(200)), "fifth").await.unwrap();
    store(beat::dispatch().every(Duration::from_millis(200)), "paused").await.unwrap();
    let mut pauses = Vec::new();
    let spawn = |random: &mut fastrand::Rng| {
        Node::spawn(url, directory, random.u64(..), hours * random.i32(-1..=1))
    };
    let mut nodes: Vec<_> = (0..NODES).map(|_| spawn(&mut random)).collect();
    let (mut kills, mut stops, mut again) = (0, 0, 0);
    let mut wake: Vec<(usize, Instant)> = Vec::new();
    let end = Instant::now() + crate::length(seconds);
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(random.u64(50..400))).await;
        go_on(&mut nodes, &mut wake);
        let n = random.usize(..NODES);
        match random.u32(..10) {
            0..4 => {
                wake.retain(|(sleeper, _)| *sleeper != n);
                nodes[n] = spawn(&mut random);
                kills += 1;
            }
            4..6 if !nodes[n].is_stopped() => {
                nodes[n].stop();
                wake.push((n, Instant::now() + LEASE.mul_f64(0.5 + random.f64())));
                stops += 1;
            }
            // As each start of a program does. Its next tick stays.
            6..8 => {
                let stored = async {
                    store(beat::dispatch().every(every_second()), "second").await.unwrap();
                    store(beat::dispatch().every(Duration::from_millis(200)), "fifth")
                        .await
                        .unwrap();
                };
                meanwhile(&mut nodes, &mut wake, stored).await;
                again += 1;
            }
            8 => {
                let pause = Pause::make(&client, random.u64(100..1_000));
                pauses.push(meanwhile(&mut nodes, &mut wake, pause).await);
            }
            _ => {}
        }
    }
    nodes.iter_mut().filter(|node| node.is_stopped()).for_each(Node::go_on);
    // What was missed meanwhile is made up for; then nothing more comes.
    let caught_up = async || {
        let info = client.schedules().get("beat", "fifth").await.unwrap().unwrap();
        let late = SystemTime::now().duration_since(info.next.unwrap()).unwrap_or_default();
        late < Duration::from_secs(1)
    };
    crate::until("the ticks are caught up with", caught_up).await;
    for key in ["second", "fifth", "paused"] {
        client.schedules().pause("beat", key).await.unwrap();
    }
    load::finish(directory, &living(&nodes), &client).await;
    drop(nodes);
    let mut told = Vec::new();
    for (key, every) in [("second", 1_000), ("fifth", 200), ("paused", 200)] {
        let info = client.schedules().get("beat", key).await.unwrap().unwrap();
        let tasks = made_by(&client, key).await;
        each_once(&tasks, every, if key == "paused" { &pauses } else { &[] });
        assert_eq!(
            info.runs,
            tasks.len() as u64,
            "{key}: each is counted, and none that is not there"
        );
        told.push(tasks.len());
    }
    println!(
        "{told:?} ticks, each once; {kills} kills, {stops} stops, {} pauses, stored again {again} times",
        pauses.len()
    );
    client.shutdown().await.unwrap();
}

/// Those go on that have been stopped for long enough.
fn go_on(nodes: &mut [Node], wake: &mut Vec<(usize, Instant)>) {
    let now = Instant::now();
    for (n, _) in wake.extract_if(.., |(_, at)| *at <= now) {
        nodes[n].go_on();
    }
}

/// What is said to the storage may have to wait for one that was stopped while it wrote to the file.
async fn meanwhile<T>(
    nodes: &mut [Node],
    wake: &mut Vec<(usize, Instant)>,
    said: impl Future<Output = T>,
) -> T {
    let mut said = std::pin::pin!(said);
    loop {
        tokio::select! {
            biased;
            answer = &mut said => return answer,
            () = tokio::time::sleep(Duration::from_millis(50)) => go_on(nodes, wake),
        }
    }
}

async fn made_by(client: &Runtime, key: &str) -> Vec<TaskInfo> {
    let mut filter = TaskFilter::default();
    filter.tag = Some((evertask::SCHEDULE_TAG.to_owned(), key.to_owned()));
    let mut page = Page { before: None, limit: 1_000 };
    let mut tasks = Vec::new();
    loop {
        let found = client.tasks(filter.clone(), page).await.unwrap();
        let Some(last) = found.last() else { return tasks };
        page.before = Some(last.id);
        tasks.extend(found);
    }
}

/// When a schedule was paused: the instants before and after each of the two things that were said to it, in milliseconds.
#[derive(Debug)]
struct Pause {
    begin: (u128, u128),
    end: (u128, u128),
}

impl Pause {
    async fn make(client: &Runtime, lasts: u64) -> Self {
        let before = now();
        client.schedules().pause("beat", "paused").await.unwrap();
        let begin = (before, now());
        tokio::time::sleep(Duration::from_millis(lasts)).await;
        let before = now();
        client.schedules().resume("beat", "paused").await.unwrap();
        Self { begin, end: (before, now()) }
    }

    /// Whatever the clocks and what was under way, it was paused then.
    fn surely(&self, tick: u128) -> bool {
        tick > self.begin.1 && tick < self.end.0
    }

    /// What came up and was not made by then is gone.
    fn excuses(&self, gap: &[u128]) -> bool {
        gap[0] <= self.end.1 && gap[1] >= self.begin.0
    }
}

fn now() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()
}

/// From the first tick to the last there is one task for each that did not fall into a pause, and nothing beside them.
fn each_once(tasks: &[TaskInfo], every: u128, pauses: &[Pause]) {
    let mut ticks: BTreeMap<u128, u32> = BTreeMap::new();
    for task in tasks {
        let tick = task.tick.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        *ticks.entry(tick.as_millis()).or_default() += 1;
    }
    let twice: Vec<_> = ticks.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "made more than once: {twice:?}");
    let ticks: Vec<_> = ticks.into_keys().collect();
    let paused = |tick: &&u128| pauses.iter().any(|pause| pause.surely(**tick));
    let paused: Vec<_> = ticks.iter().filter(paused).collect();
    assert!(paused.is_empty(), "made in spite of a pause: {paused:?}, {pauses:?}");
    let gaps = ticks.windows(2).filter(|pair| pair[1] - pair[0] != every);
    let gaps: Vec<_> = gaps.filter(|gap| !pauses.iter().any(|it| it.excuses(gap))).collect();
    assert!(gaps.is_empty(), "lost between these: {gaps:?}, {pauses:?}");
    assert!(ticks.len() > 5, "hardly any ticks: {ticks:?}");
}
