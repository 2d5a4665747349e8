//! Those who ask: they dispatch, store schedules, cancel and retry, and in the end they look how soon it is done.

use std::{sync::Arc, time::Duration};

use evertask::{DispatchError, RetryError, Runtime, TaskId, TaskState, storage::Enqueued};
use tokio::time::sleep;

use crate::{
    handlers::{crowd, dispatch, output, probe},
    model::Tale,
    plan::{LISTENER, PEACE, PROBE, Release, TICKS, TaskPlan, Wish},
    rules::{Broken, Rule},
    seat::Seat,
    stage::never_ended,
    trouble::shut_down,
    world::World,
};

/// How soon a task begins, and stops, in peace.
const PROMPT: Duration = Duration::from_secs(2);

/// A node that could be asked: the one at this place, or the next.
pub(crate) async fn somebody(
    world: &World,
    by: usize,
    able: impl Fn(Release) -> bool,
) -> (Arc<Seat>, Runtime) {
    loop {
        let places = world.plan.nodes.len() + 1;
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

pub(crate) async fn ask_for(world: Arc<World>, mut task: TaskPlan) {
    sleep(task.at).await;
    if task.handler == 3 && world.look(|inner| inner.peace) {
        task.handler = 2;
    }
    let able = |release: Release| release.has(task.handler);
    // The last old program may be gone by the time it would be asked.
    let asked = tokio::time::timeout(PEACE, somebody(&world, task.by, able)).await;
    let Ok((seat, runtime)) = asked else { return };
    world.say(Some(&seat), None, || format!("dispatches number {}", task.number));
    let (all, clock) = (task.clone(), world.truth.clock());
    let dispatched = seat.does(async {
        let dispatched = dispatch(seat.release, &runtime, &task, clock).await;
        if all.crowd > 0 {
            // All or none of them, whatever the answer is; it is looked at in the end.
            let _answer = crowd(&runtime, &all).await;
        }
        dispatched
    });
    let dispatched = match task.gives_up {
        None => Some(dispatched.await),
        Some(after) => tokio::time::timeout(after, dispatched).await.ok(),
    };
    drop(runtime);
    seat.pass().await;
    let Some(dispatched) = dispatched else {
        return world
            .say(Some(&seat), None, || format!("number {}: no longer waited for", task.number));
    };
    match dispatched {
        Ok((id, how)) => acknowledged(&world, &seat, task.number, Enqueued { id, how }),
        Err(DispatchError::Unknown { .. }) => {
            world.say(Some(&seat), None, || format!("number {}: stored or not", task.number));
        }
        Err(error) => refused(&world, &seat, task.number, &error),
    }
}

/// Somebody was told that a task is not stored. So it is not.
fn refused(world: &World, seat: &Seat, number: u32, error: &DispatchError) {
    world.say(Some(seat), None, || format!("number {number}: {error}"));
    world.with(|inner| {
        match inner.model.answers.get(&number).and_then(|answers| answers.first()) {
            None => Ok(()),
            Some(stored) => Err(Broken {
                rule: Rule::ToldWhatHappened,
                how: format!("somebody is told that it is not stored, and it is: {stored:?}"),
                task: inner.model.n(stored.id),
                place: Some(seat.place),
            }),
        }
    });
}

/// Of each crowd all were stored, or none was.
pub(crate) fn all_came(world: &World) {
    world.with(|inner| {
        for task in &world.plan.tasks {
            let stored = |number: &u32| {
                let mut tales = inner.model.tales.values();
                tales.any(|tale| {
                    tale.end.as_ref().is_some_and(|it| crate::model::number(it) == *number)
                })
            };
            let came = task.crowd().filter(stored).count();
            if came != 0 && came != task.crowd as usize {
                let how = format!("of {} that were dispatched together {came} came", task.crowd);
                return Err(Broken { rule: Rule::AllOrNone, how, task: None, place: None });
            }
        }
        Ok(())
    });
}

/// Somebody was told that a task is stored. So it is.
fn acknowledged(world: &World, seat: &Arc<Seat>, number: u32, told: Enqueued) {
    let Enqueued { id, how } = told;
    world.with(|inner| {
        let task = inner.model.n(id);
        let answers = inner.model.answers.get(&number);
        if task.is_some() && !answers.is_some_and(|answers| answers.contains(&told)) {
            let how = format!("somebody is told {told:?}, and the storage said {answers:?}");
            let (rule, place) = (Rule::ToldWhatHappened, Some(seat.place));
            return Err(Broken { rule, how, task, place });
        }
        inner.history.say(world.now(), Some(seat.place), task, format!("acknowledged: {how:?}"));
        let index = world.index(inner, seat);
        match inner.model.tales.get_mut(&id) {
            Some(tale) => {
                tale.acknowledged = true;
                tale.rung = Some((index, world.now()));
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

/// In peace, and after all that is left of the trouble: how soon a task begins, and how soon one stops that is cancelled.
pub(crate) async fn probe_all(world: &Arc<World>) {
    sleep(Duration::from_secs(40)).await;
    let (_, client) = somebody(world, world.plan.nodes.len(), |_| true).await;
    let state = |id: TaskId| world.truth.task(id).map(|task| task.state);
    let until = async |id: TaskId, wanted: TaskState, what: &str| {
        sleep(PROMPT).await;
        let gone = wanted == TaskState::Completed && world.plan.ephemeral && state(id).is_none();
        if state(id) != Some(wanted) && !gone {
            world.with::<()>(|inner| {
                let how = format!("{what}: {:?} after {PROMPT:?}", state(id));
                Err(Broken { rule: Rule::Prompt, how, task: inner.model.n(id), place: None })
            });
        }
    };
    let Ok(quick) = probe(&client, PROBE, Duration::ZERO).await else { return never_ended(world) };
    until(quick, TaskState::Completed, "nobody else had anything to do").await;
    let Ok(listener) = probe(&client, LISTENER, Duration::ZERO).await else {
        return never_ended(world);
    };
    until(listener, TaskState::Running, "nobody else had anything to do").await;
    let _asked = client.cancel(listener).await;
    until(listener, TaskState::Cancelled, "it was to be cancelled").await;
    let (seat, node) = somebody(world, 0, |_| true).await;
    let told = tokio::time::timeout(PROMPT, output(&node)).await;
    seat.inside.lock().unwrap().loses_answer = true;
    let Ok(again) = probe(&node, PROBE, Duration::ZERO).await else { return never_ended(world) };
    drop(node);
    until(again, TaskState::Completed, "its dispatch had to be said again").await;
    // What is deleted at once has no output for anybody.
    let told_at_all = told.is_ok() && (world.plan.ephemeral || matches!(told, Ok(Ok(_))));
    if !told_at_all {
        world.with::<()>(|_| {
            let how = format!("who waits for the end of a task is not told: {told:?}");
            Err(Broken { rule: Rule::Prompt, how, task: None, place: Some(seat.place) })
        });
    }
    let Ok(later) = probe(&client, PROBE, PROMPT).await else { return never_ended(world) };
    sleep(PROMPT).await;
    until(later, TaskState::Completed, "it was due after as long").await;
    probe_rescue(world, &client).await;
    for place in 0..world.plan.nodes.len() {
        let Some(seat) = world.seat(place) else { continue };
        shut_down(world, &seat).await;
    }
    world.check();
}

/// A node dies while it runs a task: another has it soon.
async fn probe_rescue(world: &Arc<World>, client: &Runtime) {
    let probe = probe(client, LISTENER, Duration::ZERO).await;
    let Ok(id) = probe else { return never_ended(world) };
    sleep(PROMPT).await;
    let lease = |id: TaskId| world.truth.task(id).map_or(0, |task| task.lease);
    let before = lease(id);
    let seat = world.look(|inner| {
        let run = inner.model.runs.get(&(id, before))?;
        inner.seats.get(run.seat).cloned()
    });
    let Some(seat) = seat else { return };
    let others = (0..world.plan.nodes.len()).filter(|place| *place != seat.place);
    if others.filter_map(|place| world.seat(place)?.runtime()).count() == 0 {
        return;
    }
    world.crash(&seat, Duration::from_secs(60));
    // The dead one may not have been seen alive since the look before.
    sleep(world.plan.lease + world.plan.lease / 5 + Duration::from_secs(1)).await;
    if lease(id) == before {
        world.with::<()>(|inner| {
            let (how, task) = ("nobody has it".to_owned(), inner.model.n(id));
            Err(Broken { rule: Rule::RescuedSoon, how, task, place: Some(seat.place) })
        });
    }
    sleep(PROMPT).await;
    let _asked = client.cancel(id).await;
    sleep(PROMPT).await;
}

pub(crate) async fn wish_for(world: Arc<World>, wish: Wish) {
    sleep(wish.at).await;
    let id = world.look(|inner| {
        let mut tales = inner.model.tales.iter();
        let is_it = |info: &evertask::TaskInfo| crate::model::number(info) == wish.task;
        // Of a series the last one that can be cancelled, or retried.
        let of_series = wish.task >= TICKS;
        let fits = |info: &evertask::TaskInfo| !of_series || info.state.is_final() == wish.retry;
        let fits = |info: &evertask::TaskInfo| is_it(info) && fits(info);
        let fitting = |tale: &Tale| tale.info.as_ref().is_some_and(fits);
        let found = match of_series {
            true => tales.rfind(|(_, tale)| fitting(tale)),
            false => tales.find(|(_, tale)| fitting(tale)),
        };
        found.map(|(id, _)| *id)
    });
    let Some(id) = id else { return };
    let (seat, runtime) = somebody(&world, wish.by, |_| true).await;
    let what = if wish.retry {
        match seat.does(runtime.retry(id)).await {
            Ok(()) => "done",
            Err(RetryError::Storage(_)) => "the storage failed",
            Err(_) => "refused",
        }
        .to_owned()
    } else {
        let done = seat.does(runtime.cancel(id)).await;
        done.map_or_else(|error| error.to_string(), |done| format!("{done:?}"))
    };
    drop(runtime);
    seat.pass().await;
    let wish = if wish.retry { "retry" } else { "cancel" };
    world.say(Some(&seat), Some(id), || format!("asked to {wish} it: {what}"));
}
