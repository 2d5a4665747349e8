//! One history from beginning to end: the nodes start, things are asked for, things go wrong, peace comes, all has to end.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    panic,
    sync::{Arc, mpsc},
    time::Duration,
};

use evertask::{EventKind, EventStream, Retention, Runtime, TaskState};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    bugs::Bug,
    faults::Call,
    oracle,
    people::{all_came, ask_for, probe_all, wish_for},
    plan::{PEACE, Plan, Release},
    rules::{Broken, Rule},
    seat::Seat,
    states::KEPT,
    ticks::{all_ticked, ask_for_schedule, wish_for_series},
    tides,
    trouble::{go_wrong, shut_down},
    wire::Wire,
    world::World,
};

/// How long everything may take to end once there is peace.
const BOUND: Duration = Duration::from_secs(600);

/// How long a process may take to start.
const PATIENCE: Duration = Duration::from_secs(15);

/// What came of a history.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) broken: Option<Broken>,
    pub(crate) history: String,
    /// The part of it that explains the failure.
    pub(crate) guilty: String,
    /// How much happened: tasks, runs, rescued leases.
    pub(crate) tasks: usize,
    pub(crate) runs: usize,
    /// How often each place has made each call before there was peace.
    pub(crate) calls: BTreeMap<(usize, Call), u32>,
}

/// How long a history may take by the clock of the machine, whatever else that does: one that takes longer goes
/// round and round, or waits for itself.
const WATCHED: Duration = Duration::from_secs(180);

/// Lets a plan happen, on a thread of its own, so that it shares nothing with any other.
///
/// # Panics
/// If it does not come to an end. Its thread cannot be stopped, and is left behind.
pub(crate) fn play(plan: &Plan, bug: Option<Bug>) -> Outcome {
    let (plan, seed) = (plan.clone(), plan.seed);
    let (over, ended) = mpsc::channel();
    let thread = std::thread::Builder::new().name(SIMULATED.into()).spawn(move || {
        let outcome = panic::catch_unwind(panic::AssertUnwindSafe(|| play_here(plan, bug)));
        let panics = PANICS.take();
        let mut outcome = outcome.unwrap_or_default();
        if let Some(how) = panics.into_iter().next().filter(|_| outcome.broken.is_none()) {
            outcome.broken =
                Some(Broken { rule: Rule::NothingPanics, how, task: None, place: None });
        }
        // Who has waited for too long does so no longer.
        let _heard_or_not = over.send(outcome);
    });
    let outcome = ended.recv_timeout(WATCHED);
    let outcome = outcome.unwrap_or_else(|_| {
        let with = bug.map(|bug| format!(" with {bug:?}")).unwrap_or_default();
        panic!(
            "seed {seed}{with} has not come to an end after {WATCHED:?}: it goes round and round, or waits for itself"
        )
    });
    let _joined = thread.unwrap().join();
    outcome
}

fn play_here(plan: Plan, bug: Option<Bug>) -> Outcome {
    evertask::chance::seed(plan.seed);
    let mut tokio = tokio::runtime::Builder::new_current_thread();
    let tokio = tokio.enable_time().start_paused(true).build().unwrap();
    tokio.block_on(async {
        let world = World::new(plan, bug);
        happen(&world).await;
        world.end();
        world.look(|inner| Outcome {
            broken: inner.broken.clone(),
            history: inner.history.whole(),
            guilty: inner.broken.as_ref().map(|it| inner.history.of(it)).unwrap_or_default(),
            tasks: inner.model.tales.len(),
            runs: inner.model.runs.len(),
            calls: inner.counts.clone(),
        })
    })
}

/// The name of threads on which panics are planned, and all others noted.
pub(crate) const SIMULATED: &str = "simulated";

thread_local! {
    /// What has panicked in this history and was not to.
    pub(crate) static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

async fn happen(world: &Arc<World>) {
    if world.plan.declares() {
        tides::before(world).await;
    }
    for (place, (_, release)) in world.plan.nodes.iter().enumerate() {
        start(world, place, *release);
    }
    start_client(world).await;
    for schedule in world.plan.schedules.clone() {
        tokio::spawn(ask_for_schedule(Arc::clone(world), schedule));
    }
    for wish in world.plan.series_wishes.clone() {
        tokio::spawn(wish_for_series(Arc::clone(world), wish));
    }
    for task in world.plan.tasks.clone() {
        tokio::spawn(ask_for(Arc::clone(world), task));
    }
    for wish in world.plan.wishes.clone() {
        tokio::spawn(wish_for(Arc::clone(world), wish));
    }
    for fault in world.plan.faults.clone() {
        tokio::spawn(go_wrong(Arc::clone(world), fault));
    }
    tokio::spawn(bring_back(Arc::clone(world)));
    let all = async {
        while world.now() < PEACE {
            sleep(Duration::from_secs(1)).await;
            world.check();
        }
        make_peace(world);
        let end = Instant::now() + BOUND;
        while !at_rest(world) {
            sleep(Duration::from_millis(500)).await;
            world.check();
            if Instant::now() > end {
                never_ended(world);
            }
        }
        all_ticked(world);
        all_came(world);
        oracle::check(world);
        // For some only: it takes as long again.
        if world.plan.seed.is_multiple_of(3) {
            probe_all(world).await;
        }
    };
    tokio::select! {
        biased;
        () = world.alarm.notified() => {}
        () = all => {}
    }
}

/// Someone who only asks has the last place.
async fn start_client(world: &Arc<World>) {
    let place = world.plan.nodes.len();
    let seat = Seat::new(world, place, 0, Release::Third);
    world.look(|inner| {
        inner.places[place] = Some(Arc::clone(&seat));
        inner.seats.push(Arc::clone(&seat));
    });
    let builder = Runtime::builder().storage(Wire(Arc::clone(&seat))).discover(false);
    let client = seat.does(Release::Third.install(builder, &world.plan).client());
    let client = client.await.expect("it asks for nothing");
    seat.inside.lock().unwrap().runtime = Some(client);
}

/// A new node has the place.
pub(crate) fn start(world: &Arc<World>, place: usize, release: Release) {
    let seat = Seat::new(world, place, world.plan.nodes[place].0, release);
    world.look(|inner| {
        inner.places[place] = Some(Arc::clone(&seat));
        inner.seats.push(Arc::clone(&seat));
    });
    world.say(Some(&seat), None, || format!("starts with the {release:?} release"));
    let world = Arc::clone(world);
    tokio::spawn(async move {
        loop {
            let of_second = world.plan.second_queue.min(seat.slots);
            let builder = Runtime::builder()
                .storage(Wire(Arc::clone(&seat)))
                .discover(false)
                .state(Arc::clone(&seat))
                .concurrency(seat.slots)
                .lease(world.plan.lease)
                .max_losses(world.plan.max_losses)
                // The thread that goes by this goes by the clock of the machine; see `heart`.
                .stall_limit(Duration::from_secs(86_400))
                .shutdown_timeout(Duration::from_secs(5))
                .queue("two", |queue| queue.concurrency(of_second))
                .retention(match world.plan.ephemeral {
                    true => Retention::default().ephemeral(),
                    false => Retention::default().completed(KEPT),
                });
            // Whoever supervises the process waits less long for the storage than a start does.
            let start = timeout(PATIENCE, seat.does(release.install(builder, &world.plan).start()));
            let start = tokio::select! {
                biased;
                () = seat.given_up.notified() => return,
                start = start => start,
            };
            match start
                .map_err(|_| "no answer".to_owned())
                .and_then(|it| it.map_err(|e| e.to_string()))
            {
                Ok(runtime) => {
                    tokio::spawn(listen(Arc::clone(&world), Arc::clone(&seat), runtime.events()));
                    seat.disturb(world.now());
                    seat.inside.lock().unwrap().runtime = Some(runtime);
                    return;
                }
                Err(_) if seat.is_dead() => return,
                Err(error) => world.say(Some(&seat), None, || format!("does not start: {error}")),
            }
            tokio::select! {
                biased;
                () = seat.given_up.notified() => return,
                () = sleep(Duration::from_millis(500)) => {}
            }
        }
    });
}

/// What a node announces has happened.
async fn listen(world: Arc<World>, seat: Arc<Seat>, mut events: EventStream) {
    while let Some(event) = events.next().await {
        let state = match event.kind {
            EventKind::Completed => TaskState::Completed,
            EventKind::Failed => TaskState::Failed,
            EventKind::Cancelled => TaskState::Cancelled,
            _ => continue,
        };
        world.with(|inner| {
            let tale = inner.model.tales.get(&event.id);
            if tale.is_none_or(|tale| tale.ends.contains(&state)) {
                return Ok(());
            }
            let (task, place) = (inner.model.n(event.id), Some(seat.place));
            let how = format!("it is announced as {state:?} and never was");
            Err(Broken { rule: Rule::ToldWhenStored, how, task, place })
        });
    }
}

/// Places whose node died or was stopped have a new one after a while.
async fn bring_back(world: Arc<World>) {
    loop {
        sleep(Duration::from_millis(50)).await;
        let now = Instant::now();
        let due: Vec<usize> = world.look(|inner| {
            let (due, later) = inner.back.iter().partition(|(at, _)| *at <= now);
            inner.back = later;
            let due: Vec<(Instant, usize)> = due;
            due.into_iter().map(|(_, place)| place).collect()
        });
        for place in due {
            let peace = world.look(|inner| inner.peace);
            let before = world.look(|inner| {
                let mut of_place = inner.seats.iter().filter(|seat| seat.place == place);
                of_place.next_back().map(|seat| seat.release)
            });
            let release = if peace { Release::Third } else { before.unwrap_or(Release::Third) };
            start(&world, place, release);
        }
    }
}

/// Nothing goes wrong any more; every place has a node, and all know all handlers.
fn make_peace(world: &Arc<World>) {
    world.say(None, None, || "peace".into());
    let seats = world.look(|inner| {
        inner.peace = true;
        inner.back.iter_mut().for_each(|(at, _)| *at = Instant::now());
        inner.places.clone()
    });
    for seat in seats.into_iter().flatten() {
        seat.heal();
        if seat.release != Release::Third {
            let world = Arc::clone(world);
            tokio::spawn(async move {
                loop {
                    if shut_down(&world, &seat).await {
                        return start(&world, seat.place, Release::Third);
                    }
                    if seat.is_dead() || seat.inside.lock().unwrap().closing.is_some() {
                        return;
                    }
                    sleep(Duration::from_millis(500)).await;
                }
            });
        }
    }
}

fn at_rest(world: &World) -> bool {
    world.look(|inner| {
        let over = |info: &evertask::TaskInfo| info.state.is_final();
        inner.model.tales.values().all(|tale| tale.info.as_ref().is_none_or(over))
    }) && world.truth.schedules_are_over()
}

pub(crate) fn never_ended(world: &World) {
    world.with::<()>(|inner| {
        let over = |info: &evertask::TaskInfo| info.state.is_final();
        let waits = |tale: &&crate::model::Tale| !tale.info.as_ref().is_none_or(over);
        let tale = inner.model.tales.values().find(waits);
        let how = tale.map_or_else(String::new, |tale| {
            let info = tale.info.as_ref();
            info.map_or_else(String::new, |it| {
                format!("{} is {:?}, lease {}", it.name, it.state, it.lease)
            })
        });
        Err(Broken { rule: Rule::EndsSomeDay, how, task: tale.map(|tale| tale.n), place: None })
    });
}
