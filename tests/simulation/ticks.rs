//! Schedules: those who store them, the ticks as they arrive at the storage, and what all have come to in the end.

use std::sync::Arc;

use evertask::{
    Overlap,
    storage::{NewTask, ScheduleChange, ScheduleChanged},
};
use tokio::time::sleep;

use crate::{
    bells::Ring,
    handlers::schedule,
    model::{By, Tale, number_of},
    people::somebody,
    rules::{Broken, Rule},
    seat::Seat,
    series::{RulePlan, SchedulePlan},
    tides,
    truth::Answer,
    wall,
    world::{Inner, World},
};

impl World {
    pub(crate) fn change_schedules(
        &self,
        seat: &Arc<Seat>,
        changes: &[ScheduleChange],
    ) -> Answer<Vec<ScheduleChanged>> {
        let changed = self.truth.change_schedules(changes.to_vec())?;
        self.with(|inner| {
            for (change, changed) in changes.iter().zip(&changed) {
                let ScheduleChanged::Done(enqueued) = changed else { continue };
                for (task, stored) in change.tasks.iter().zip(enqueued) {
                    self.one_of_a_series(inner, seat, task)?;
                    self.see_asked(inner, seat, (task, stored.id), By::Schedule)?;
                    let Some(at) = task.tick else { continue };
                    let place = Some(seat.place);
                    if change.key.starts_with("wall") && !wall::is_first(at) {
                        let how = format!("{at:?} of {:?} is none of its instants", change.key);
                        return Err(Broken { rule: Rule::FoldOnce, how, task: None, place });
                    }
                    // One that has ended and was deleted since is known.
                    if !inner.model.tales.contains_key(&stored.id) {
                        let how = format!("{at:?} of {:?} has no task", change.key);
                        return Err(Broken { rule: Rule::TickOnce, how, task: None, place });
                    }
                    let tick = (change.key.to_string(), at);
                    let first = *inner.ticks.entry(tick).or_insert(stored.id);
                    if first != stored.id {
                        return Err(Broken {
                            rule: Rule::TickOnce,
                            how: format!("{at:?} of {:?} makes another task", change.key),
                            task: inner.model.n(stored.id),
                            place,
                        });
                    }
                }
            }
            inner.rings.push(Ring::Schedules);
            tides::check(self, inner, seat)
        });
        Ok(changed)
    }

    /// A series that is not to overlap makes no task while one of it lives.
    fn one_of_a_series(&self, inner: &Inner, seat: &Seat, task: &NewTask) -> Result<(), Broken> {
        let number = number_of(&task.payload);
        let plan = self.plan.schedules.iter().find(|plan| plan.number == number);
        let alone = |overlap| matches!(overlap, Overlap::Skip | Overlap::QueueOne);
        if plan.is_none_or(|plan| !alone(plan.overlap)) || inner.model.tales.contains_key(&task.id)
        {
            return Ok(());
        }
        let lives = |tale: &&Tale| {
            let info = tale.info.as_ref().filter(|info| !info.state.is_final());
            info.is_some_and(|info| number_of(&info.payload) == number)
        };
        let Some(other) = inner.model.tales.values().find(lives) else { return Ok(()) };
        let how = format!("a tick of number {number} makes a task while another lives");
        Err(Broken { rule: Rule::OneOfASeries, how, task: Some(other.n), place: Some(seat.place) })
    }
}

pub(crate) async fn ask_for_schedule(world: Arc<World>, plan: SchedulePlan) {
    if plan.rule == RulePlan::Declared {
        return;
    }
    sleep(plan.at).await;
    let (seat, runtime) = somebody(&world, plan.by, |_| true).await;
    world.say(Some(&seat), None, || format!("stores a schedule: {plan:?}"));
    let stored = schedule(&runtime, &plan).await.is_ok();
    drop(runtime);
    seat.pass().await;
    world.say(Some(&seat), None, || format!("schedule {} stored: {stored}", plan.number));
}

/// Each series that was stored has made as many tasks as it was to, each of them in time.
pub(crate) fn all_ticked(world: &World) {
    world.with(|inner| {
        for plan in &world.plan.schedules {
            // Of the others, each tick is looked at when it comes.
            let (RulePlan::Elapsed { every, runs } | RulePlan::Repeated { every, runs }) =
                plan.rule
            else {
                continue;
            };
            let key = plan.key();
            let ticks: Vec<_> =
                inner.ticks.keys().filter(|(of, _)| *of == key).map(|(_, at)| *at).collect();
            for pair in ticks.windows(2) {
                let apart = pair[1].duration_since(pair[0]).unwrap_or_default();
                if !apart.as_micros().is_multiple_of(every.as_micros()) {
                    let how = format!("two of {key} are {apart:?} apart, each {every:?}");
                    return Err(Broken { rule: Rule::TickInTime, how, task: None, place: None });
                }
            }
            let ticks = ticks.len() as u64;
            if ticks != runs && world.truth.has_schedule(&key) {
                let how = format!("{key} made {ticks} tasks of {runs}");
                return Err(Broken { rule: Rule::TickOnce, how, task: None, place: None });
            }
        }
        Ok(())
    });
}
