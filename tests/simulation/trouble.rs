//! Things go wrong, and nodes are shut down, as the plan says.

use std::{sync::Arc, time::Duration};

use evertask::TaskState;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    faults::Fault,
    model::Tale,
    plan::{HOUR, PEACE, Release},
    rules::{Broken, Rule},
    seat::Seat,
    stage::start,
    world::World,
};

pub(crate) async fn go_wrong(world: Arc<World>, fault: Fault) {
    let Some(at) = fault.at() else { return };
    sleep(at).await;
    // Never that of the one who only asks, to whom a place falls when others are taken away.
    let seat = |place: usize| world.seat(place).filter(|_| place < world.plan.nodes.len());
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
            if let Some(seat) = seat(place) {
                cut_off(&world, vec![seat], lasts, silent).await;
            }
        }
        Fault::Outage { lasts, silent, .. } => {
            let all = world.look(|inner| inner.places.iter().flatten().cloned().collect());
            cut_off(&world, all, lasts, silent).await;
        }
        Fault::Sleep { lasts, .. } => {
            let all = world.look(|inner| inner.places.clone());
            all.iter().flatten().for_each(|seat| world.stand(seat, lasts));
        }
        Fault::Deaf { place, lasts, .. } => {
            let Some(seat) = seat(place) else { return };
            world.say(Some(&seat), None, || format!("is deaf for {lasts:?}"));
            let until = Instant::now() + lasts;
            seat.disturb(world.now() + lasts);
            seat.inside.lock().unwrap().deaf = Some(until);
            sleep_until(until).await;
            seat.bell.all();
            seat.bell.peers();
        }
        Fault::Shutdown { place, back, .. } => {
            let Some(seat) = seat(place) else { return };
            if give_up_start(&world, &seat) {
                return world.comes_back(&seat, back);
            }
            if shut_down(&world, &seat).await {
                world.comes_back(&seat, back);
            }
        }
        Fault::Deploy { place, release, .. } => {
            let Some(seat) = seat(place) else { return };
            if shut_down(&world, &seat).await {
                // It may have stood still until there was peace.
                let peace = world.look(|inner| inner.peace);
                start(&world, place, if peace { Release::Third } else { release });
            }
        }
        Fault::Jump { by, .. } => {
            world.jump(by);
            if by <= -HOUR {
                sleep_until(Instant::now() + (PEACE - world.now()) - Duration::from_secs(1)).await;
                world.jump(-by);
            }
        }
        Fault::Call { .. } | Fault::Unstorable { .. } => {}
    }
}

/// Whoever starts a process stops it while its start is under way; `false` if it is not.
///
/// What may be left of it there goes on: nothing must.
fn give_up_start(world: &World, seat: &Seat) -> bool {
    let mut inside = seat.inside.lock().unwrap();
    let starts = inside.runtime.is_none() && inside.closing.is_none() && !inside.shut;
    if !starts || seat.is_dead() {
        return false;
    }
    (inside.shut, inside.closing) = (true, Some(Instant::now()));
    drop(inside);
    world.say(Some(seat), None, || "is stopped while it starts".into());
    seat.given_up.notify_one();
    true
}

/// The storage is out of reach for these; when it is back, it wakes them.
async fn cut_off(world: &World, seats: Vec<Arc<Seat>>, lasts: Duration, silent: bool) {
    let until = Instant::now() + lasts;
    let over = world.now() + lasts + Duration::from_secs(35);
    for seat in &seats {
        seat.disturb(over);
        let how = if silent { "silently " } else { "" };
        world.say(Some(seat), None, || format!("is {how}cut off for {lasts:?}"));
        seat.inside.lock().unwrap().cut = Some((until, silent));
    }
    sleep_until(until).await;
    for seat in seats {
        seat.bell.all();
        seat.bell.peers();
    }
}

/// Shuts a node down; `false` if it died meanwhile, or was being shut down already.
pub(crate) async fn shut_down(world: &World, seat: &Arc<Seat>) -> bool {
    // A process that stands still does not hear that it is to stop.
    while seat.stands() {
        sleep(Duration::from_millis(50)).await;
    }
    let Some(runtime) = seat.runtime() else { return false };
    let asked = Instant::now();
    seat.inside.lock().unwrap().closing = Some(asked);
    world.say(Some(seat), None, || "is shut down".into());
    let done = seat.does(runtime.shutdown()).await;
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
        // It says so if it could not write something down, or waits for that; then others find it to have left. What it has just
        // taken over it leaves to the next one.
        let held = |tale: &&Tale| {
            let runs = tale.info.as_ref().is_some_and(|it| it.state == TaskState::Running);
            runs && tale.held.is_some_and(|held| held.by == index && !held.seized)
        };
        let clean = done.is_ok() && asked.elapsed() < Duration::from_secs(4);
        if let Some(tale) = inner.model.tales.values().find(held).filter(|_| clean) {
            let (rule, how) = (Rule::ShutDownIsShutDown, "the node still holds it".to_owned());
            return Err(Broken { rule, how, task: Some(tale.n), place: Some(seat.place) });
        }
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
