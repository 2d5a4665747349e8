//! One run of a handler, as it is seen to begin and to end.

use std::{sync::Arc, time::Duration};

use evertask::TaskId;

use crate::{
    handlers,
    model::{self, End, RunSeen},
    plan::{Act, TIDE},
    rules::{Broken, Rule},
    seat::Seat,
    world::World,
};

/// A run that is under way; dropped without an end, it was cut off.
pub(crate) struct Run {
    world: Arc<World>,
    seat: Arc<Seat>,
    id: TaskId,
    lease: u64,
    ended: bool,
}

impl Run {
    /// A handler begins. Says what it is to do.
    pub(crate) fn begin(
        world: &Arc<World>,
        seat: &Arc<Seat>,
        number: u32,
        id: TaskId,
    ) -> (Self, Act) {
        let lease = seat.inside.lock().unwrap().leases.get(&id).copied().unwrap_or_default();
        let act = world.with(|inner| {
            let place = Some(seat.place);
            let task = inner.model.n(id);
            let broken = |rule, how: String| Broken { rule, how, task, place };
            if lease == 0 {
                return Err(broken(Rule::OneRunPerLease, "it runs without a lease".into()));
            }
            let (shut, closing) = {
                let inside = seat.inside.lock().unwrap();
                (inside.shut, inside.closing)
            };
            // What was about to begin when the shutdown did may begin.
            if shut || closing.is_some_and(|at| at.elapsed() > Duration::from_millis(500)) {
                return Err(broken(Rule::ShutDownIsShutDown, "it begins after that".into()));
            }
            let nothing_begins =
                (seat.stands(), seat.inside.lock().unwrap().is_silent(world.plan.lease));
            match nothing_begins {
                (true, _) => return Err(broken(Rule::StandsStill, "it begins".into())),
                (_, true) => return Err(broken(Rule::OutOfTouchNothingRuns, "it begins".into())),
                _ => {}
            }
            let Some(tale) = inner.model.tales.get_mut(&id) else {
                return Err(broken(Rule::Acknowledged, "it runs and is not stored".into()));
            };
            if let Some(stored) =
                tale.info.as_ref().filter(|it| it.lease == lease).map(model::number)
                && stored != number
                && number != TIDE
            {
                let how = format!("it runs as number {number}, and is stored as number {stored}");
                return Err(broken(Rule::GivenAsStored, how));
            }
            let nth = tale.begun.entry(number).or_default();
            let act = world.plan.act(number, *nth);
            *nth += 1;
            let suspect = tale.suspects.contains(&lease);
            let queue = tale.info.as_ref().map(|info| info.queue.clone()).unwrap_or_default();
            let second = queue == "two";
            let (index, limit) = (world.index(inner, seat), handlers::limit(number));
            let run = RunSeen {
                place: seat.place,
                seat: index,
                begin: world.now(),
                limit,
                over: limit.map(|limit| world.now() + limit),
                queue,
                listens: matches!(act, Act::Listen(..)),
                end: None,
                suspect,
                must_end: None,
            };
            let text = format!("run of lease {lease} begins, to {act:?}");
            inner.history.say(world.now(), place, task, text);
            {
                let mut inside = seat.inside.lock().unwrap();
                inside.running.insert((id, lease));
                inside.busy = world.now();
            }
            if inner.model.runs.insert((id, lease), run).is_some() {
                return Err(broken(Rule::OneRunPerLease, format!("lease {lease} runs twice")));
            }
            let here = inner.model.runs.values().filter(|it| it.seat == index && it.end.is_none());
            let (open, suspects) =
                here.fold((0, 0), |(open, of), it| (open + 1, of + u32::from(it.suspect)));
            if open > seat.slots {
                return Err(broken(
                    Rule::SlotsAreKept,
                    format!("{open} runs in {} slots", seat.slots),
                ));
            }
            let of_second =
                |run: &&RunSeen| run.seat == index && run.end.is_none() && run.queue == "two";
            let of_second = inner.model.runs.values().filter(of_second).count();
            if second && of_second > world.plan.second_queue {
                let how = format!("{of_second} runs of a queue with {}", world.plan.second_queue);
                return Err(broken(Rule::SlotsAreKept, how));
            }
            if suspects > 1 {
                return Err(broken(
                    Rule::SuspectsAlone,
                    format!("{suspects} suspects run at once"),
                ));
            }
            Ok(act)
        });
        let run =
            Self { world: Arc::clone(world), seat: Arc::clone(seat), id, lease, ended: false };
        (run, act.unwrap_or(Act::Return(Duration::ZERO)))
    }

    /// It ends so, and its output is its lease.
    pub(crate) fn end(&mut self, end: End) -> u64 {
        if !std::mem::replace(&mut self.ended, true) && !self.seat.is_dead() {
            let world = &self.world;
            {
                let mut inside = self.seat.inside.lock().unwrap();
                inside.running.remove(&(self.id, self.lease));
                inside.busy = world.now();
            }
            let (stands, silent) =
                (self.seat.stands(), self.seat.inside.lock().unwrap().is_silent(world.plan.lease));
            let _never = world.with(|inner| {
                let run = inner.model.runs.get_mut(&(self.id, self.lease));
                let listens = run.as_ref().is_some_and(|run| run.listens);
                if let Some(run) = run {
                    run.end = Some((world.now(), end));
                }
                let did = end != End::Dropped && !listens && silent;
                if stands || did {
                    let rule = if stands { Rule::StandsStill } else { Rule::OutOfTouchNothingRuns };
                    let how = format!("the run of lease {} ends: {end:?}", self.lease);
                    let (task, place) = (inner.model.n(self.id), Some(self.seat.place));
                    return Err(Broken { rule, how, task, place });
                }
                let text = format!("run of lease {} ends: {end:?}", self.lease);
                let task = inner.model.n(self.id);
                inner.history.say(world.now(), Some(self.seat.place), task, text);
                Ok(())
            });
        }
        self.lease
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.end(End::Dropped);
    }
}
