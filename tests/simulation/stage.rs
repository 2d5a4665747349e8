//! One history from beginning to end: the nodes start, things are asked for, things go wrong, peace comes, all has to end.

use std::{sync::Arc, time::Duration};

use evertask::{DispatchError, Dispatched, Retention, RetryError, Runtime, TaskId};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    bugs::Bug,
    handlers::dispatch,
    plan::{Fault, PEACE, Plan, Release, TaskPlan, Wish},
    rules::{Broken, Rule},
    seat::Seat,
    wire::Wire,
    world::World,
};

/// How long everything may take to end once there is peace.
const BOUND: Duration = Duration::from_secs(600);

/// What came of a history.
pub(crate) struct Outcome {
    pub(crate) broken: Option<Broken>,
    pub(crate) history: String,
    /// The part of it that explains the failure.
    pub(crate) guilty: String,
    /// How much happened: tasks, runs, rescued leases.
    pub(crate) tasks: usize,
    pub(crate) runs: usize,
}

/// Lets a plan happen, on a thread of its own, so that it shares nothing with any other.
pub(crate) fn play(plan: &Plan, bug: Option<Bug>) -> Outcome {
    let plan = plan.clone();
    let thread = std::thread::Builder::new().name(SIMULATED.into()).spawn(move || {
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
            })
        })
    });
    thread.unwrap().join().unwrap()
}

/// The name of threads on which panics are planned.
pub(crate) const SIMULATED: &str = "simulated";

async fn happen(world: &Arc<World>) {
    for (place, (_, release)) in world.plan.nodes.iter().enumerate() {
        start(world, place, *release);
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
        sleep(PEACE).await;
        make_peace(world);
        let end = Instant::now() + BOUND;
        while !at_rest(world) {
            sleep(Duration::from_millis(500)).await;
            world.check();
            if Instant::now() > end {
                never_ended(world);
            }
        }
        world.conclude();
    };
    tokio::select! {
        biased;
        () = world.alarm.notified() => {}
        () = all => {}
    }
}

/// A new node has the place.
fn start(world: &Arc<World>, place: usize, release: Release) {
    let seat = Seat::new(world, place, world.plan.nodes[place].0, release);
    world.look(|inner| {
        inner.places[place] = Some(Arc::clone(&seat));
        inner.seats.push(Arc::clone(&seat));
    });
    world.say(Some(&seat), None, || format!("starts with the {release:?} release"));
    let world = Arc::clone(world);
    tokio::spawn(async move {
        loop {
            let builder = Runtime::builder()
                .storage(Wire(Arc::clone(&seat)))
                .discover(false)
                .state(Arc::clone(&seat))
                .concurrency(seat.slots)
                .lease(world.plan.lease)
                .max_losses(world.plan.max_losses)
                .stall_limit(Duration::from_secs(86_400))
                .shutdown_timeout(Duration::from_secs(5))
                .retention(Retention::default().completed(Duration::from_secs(20)));
            match release.install(builder).start().await {
                Ok(runtime) => {
                    seat.inside.lock().unwrap().runtime = Some(runtime);
                    return;
                }
                Err(error) => world.say(Some(&seat), None, || format!("does not start: {error}")),
            }
            sleep(Duration::from_millis(500)).await;
        }
    });
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

/// A node that could be asked: the one at this place, or the next.
async fn somebody(
    world: &World,
    by: usize,
    able: impl Fn(Release) -> bool,
) -> (Arc<Seat>, Runtime) {
    loop {
        let places = world.plan.nodes.len();
        for place in (0..places).map(|n| (by + n) % places) {
            let Some(seat) = world.seat(place) else { continue };
            let Some(runtime) = seat.runtime() else { continue };
            if able(seat.release) && !seat.stands() {
                return (seat, runtime);
            }
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn ask_for(world: Arc<World>, mut task: TaskPlan) {
    sleep(task.at).await;
    if task.handler == 3 && world.look(|inner| inner.peace) {
        task.handler = 2;
    }
    let able = |release: Release| release.has(task.handler);
    // The last old program may be gone by the time it would be asked.
    let asked = tokio::time::timeout(PEACE, somebody(&world, task.by, able)).await;
    let Ok((seat, runtime)) = asked else { return };
    world.say(Some(&seat), None, || format!("dispatches number {}", task.number));
    let dispatched = dispatch(&runtime, &task).await;
    drop(runtime);
    seat.pass().await;
    match dispatched {
        Ok((id, how)) => acknowledged(&world, &seat, id, how),
        Err(DispatchError::Unknown { .. }) => {
            world.say(Some(&seat), None, || format!("number {}: stored or not", task.number));
        }
        Err(error) => world.say(Some(&seat), None, || format!("number {}: {error}", task.number)),
    }
}

/// Somebody was told that a task is stored. So it is.
fn acknowledged(world: &World, seat: &Seat, id: TaskId, how: Dispatched) {
    world.with(|inner| {
        let task = inner.model.n(id);
        inner.history.say(world.now(), Some(seat.place), task, format!("acknowledged: {how:?}"));
        match inner.model.tales.get_mut(&id) {
            Some(tale) => {
                tale.acknowledged = true;
                Ok(())
            }
            None => Err(Broken {
                rule: Rule::Acknowledged,
                how: format!("{how:?}, and nothing is stored"),
                task,
                place: Some(seat.place),
            }),
        }
    });
}

async fn wish_for(world: Arc<World>, wish: Wish) {
    sleep(wish.at).await;
    let id = world.look(|inner| {
        let mut tales = inner.model.tales.iter();
        let is_it = |info: &evertask::TaskInfo| crate::model::number(info) == wish.task;
        tales.find(|(_, tale)| tale.info.as_ref().is_some_and(is_it)).map(|(id, _)| *id)
    });
    let Some(id) = id else { return };
    let (seat, runtime) = somebody(&world, wish.by, |_| true).await;
    let what = if wish.retry {
        match runtime.retry(id).await {
            Ok(()) => "done",
            Err(RetryError::Storage(_)) => "the storage failed",
            Err(_) => "refused",
        }
        .to_owned()
    } else {
        runtime.cancel(id).await.map_or_else(|error| error.to_string(), |done| format!("{done:?}"))
    };
    drop(runtime);
    seat.pass().await;
    let wish = if wish.retry { "retry" } else { "cancel" };
    world.say(Some(&seat), Some(id), || format!("asked to {wish} it: {what}"));
}

async fn go_wrong(world: Arc<World>, fault: Fault) {
    let Some(at) = fault.at() else { return };
    sleep(at).await;
    let seat = |place: usize| world.seat(place);
    match fault {
        Fault::Crash { place, back, .. } => {
            if let Some(seat) = seat(place) {
                world.crash(&seat, back);
            }
        }
        Fault::Stand { place, lasts, .. } => {
            if let Some(seat) = seat(place) {
                world.stand(&seat, lasts);
            }
        }
        Fault::Cut { place, lasts, silent, .. } => {
            let Some(seat) = seat(place) else { return };
            let how = if silent { "silently " } else { "" };
            world.say(Some(&seat), None, || format!("is {how}cut off for {lasts:?}"));
            let until = Instant::now() + lasts;
            seat.inside.lock().unwrap().cut = Some((until, silent));
            sleep_until(until).await;
            seat.bell.all();
            seat.bell.peers();
        }
        Fault::Deaf { place, lasts, .. } => {
            let Some(seat) = seat(place) else { return };
            world.say(Some(&seat), None, || format!("is deaf for {lasts:?}"));
            let until = Instant::now() + lasts;
            seat.inside.lock().unwrap().deaf = Some(until);
            sleep_until(until).await;
            seat.bell.all();
            seat.bell.peers();
        }
        Fault::Shutdown { place, back, .. } => {
            let Some(seat) = seat(place) else { return };
            if shut_down(&world, &seat).await {
                world.comes_back(&seat, back);
            }
        }
        Fault::Deploy { place, release, .. } => {
            let Some(seat) = seat(place) else { return };
            if shut_down(&world, &seat).await {
                start(&world, place, release);
            }
        }
        Fault::Jump { by, .. } => world.jump(by),
        Fault::Call { .. } => {}
    }
}

/// Shuts a node down; `false` if it died meanwhile, or was being shut down already.
async fn shut_down(world: &World, seat: &Arc<Seat>) -> bool {
    let Some(runtime) = seat.runtime() else { return false };
    seat.inside.lock().unwrap().closing = true;
    world.say(Some(seat), None, || "is shut down".into());
    let done = runtime.shutdown().await;
    seat.pass().await;
    if seat.is_dead() {
        return false;
    }
    world.say(Some(seat), None, || format!("its shutdown returned: {done:?}"));
    world.with(|inner| {
        let mut inside = seat.inside.lock().unwrap();
        (inside.shut, inside.runtime) = (true, None);
        drop(inside);
        let index = world.index(inner, seat);
        let open = inner.model.runs.iter().find(|(_, run)| run.seat == index && run.end.is_none());
        match open {
            Some(((id, lease), _)) => Err(Broken {
                rule: Rule::ShutDownIsShutDown,
                how: format!("the run of lease {lease} goes on"),
                task: inner.model.n(*id),
                place: Some(seat.place),
            }),
            None => Ok(()),
        }
    });
    // What is left of it is of no more interest than that of a dead one.
    seat.die();
    true
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
                    if seat.is_dead() || seat.inside.lock().unwrap().closing {
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
    })
}

fn never_ended(world: &World) {
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
