//! After each call: what a task is now is held against what it was, and the nodes are told.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    bells::Ring,
    model::{By, Holding, Tale, number},
    plan::EFFECTS,
    rules::{Broken, Rule},
    seat::Seat,
    states::micros,
    world::{Inner, World},
};
use evertask::{
    TaskId, TaskInfo, TaskState,
    storage::{Due, NewTask},
    verdict::SUSPECT_AFTER,
};

/// How long a handler may take to end once its node knows that it has to: the grace, and a few steps.
pub(crate) const STOPPED_WITHIN: Duration = Duration::from_millis(1_600);

/// And one that did not ask to be told: a few steps.
pub(crate) const DROPPED_WITHIN: Duration = Duration::from_millis(600);

impl World {
    /// Holds what a task is now against what it was; tells the nodes that there may be work. `true` if anything has changed.
    pub(crate) fn see(
        &self,
        inner: &mut Inner,
        seat: Option<&Arc<Seat>>,
        id: TaskId,
        by: By<'_>,
    ) -> Result<bool, Broken> {
        let new = self.truth.task(id);
        let clock = self.truth.clock();
        let retries = new.as_ref().map_or(10, |info| self.retries(info));
        let place = seat.map(|seat| seat.place);
        let pending = new.as_ref().filter(|info| info.state == TaskState::Pending);
        let due_in = pending.map(|info| info.due.duration_since(clock).unwrap_or_default());
        let text = inner.model.changed(id, new, by, clock, (retries, self.plan.max_losses));
        let Some(text) = text.map_err(|broken| Broken { place, ..broken })? else {
            return Ok(false);
        };
        inner.history.say(self.now(), place, inner.model.n(id), text);
        let index = seat.map(|seat| self.index(inner, seat));
        if let Some(tale) = inner.model.tales.get_mut(&id) {
            match by {
                By::Claim => {
                    tale.held = index.map(|by| Holding { by, since: self.now(), seized: false });
                    tale.marked = false;
                    let lease = tale.info.as_ref().map_or(0, |info| info.lease);
                    tale.suspects.extend((tale.losses >= SUSPECT_AFTER).then_some(lease));
                }
                By::Seize => {
                    tale.held = index.map(|by| Holding { by, since: self.now(), seized: true });
                }
                _ => {}
            }
        }
        inner.rings.extend(due_in.map(Ring::Work));
        let over = inner.model.tales.get(&id).and_then(|tale| tale.info.as_ref());
        if over.is_none_or(|info| info.state.is_final()) {
            inner.rings.push(Ring::Ended(id));
        }
        Ok(true)
    }

    /// How many tries a task has after the first.
    pub(crate) fn retries(&self, info: &TaskInfo) -> u32 {
        self.plan.task(number(info)).map_or(10, |task| task.retries)
    }

    /// A task that somebody asked for, and what it is now.
    pub(crate) fn see_asked(
        &self,
        inner: &mut Inner,
        seat: &Arc<Seat>,
        (task, id): (&NewTask, TaskId),
        by: By<'_>,
    ) -> Result<(), Broken> {
        if !self.see(inner, Some(seat), id, by)? {
            return Ok(());
        }
        let of_dispatch =
            inner.model.tales.get(&id).and_then(|tale| tale.info.as_ref()).map(number);
        if let (By::Enqueue, Some(of_dispatch)) = (by, of_dispatch) {
            let same = |tale: &Tale| tale.info.as_ref().map(number) == Some(of_dispatch);
            let mut others = inner.model.tales.iter().filter(|(other, _)| **other != id);
            // Probes have the same number each time.
            if of_dispatch < EFFECTS
                && let Some((_, other)) = others.find(|(_, tale)| same(tale))
            {
                return Err(Broken {
                    rule: Rule::DispatchedOnce,
                    how: format!("number {of_dispatch} is task {} as well", other.n),
                    task: inner.model.n(id),
                    place: Some(seat.place),
                });
            }
        }
        if let Err(how) = as_asked(task, inner.model.tales.get(&id), self.truth.clock()) {
            let (rule, task, place) = (Rule::StoredAsAsked, inner.model.n(id), Some(seat.place));
            return Err(Broken { rule, how, task, place });
        }
        let expires = task.expires.map(|after| self.truth.clock() + after);
        let asked = (task.priority, task.key.clone(), expires);
        let live = |tale: &&Tale| {
            let info = tale.info.as_ref();
            info.is_some_and(|info| info.name == *task.name && !info.state.is_final())
        };
        let others = inner.model.tales.iter().filter(|(other, _)| **other != id);
        let same_key = |tale: &&Tale| asked.1.is_some() && tale.asked.1 == asked.1;
        let other = others.map(|(_, tale)| tale).filter(live).find(same_key).map(|tale| tale.n);
        if let Some(tale) = inner.model.tales.get_mut(&id) {
            tale.asked = asked;
        }
        match other {
            None => Ok(()),
            Some(other) => Err(Broken {
                rule: Rule::KeysAreUnique,
                how: format!("{:?} of {} is held by task {other} already", task.key, task.name),
                task: inner.model.n(id),
                place: Some(seat.place),
            }),
        }
    }

    /// A node has heard what it holds: what it runs besides has to end, and what is to be cancelled.
    pub(crate) fn told(&self, to_end: Vec<(TaskId, u64)>) {
        self.look(|inner| {
            for lease in to_end {
                if let Some(run) = inner.model.runs.get_mut(&lease) {
                    let within = if run.listens { STOPPED_WITHIN } else { DROPPED_WITHIN };
                    run.must_end.get_or_insert(self.now() + within);
                }
            }
        });
    }

    /// What only a look at everything can show.
    pub(crate) fn check(&self) {
        self.with(|inner| {
            for info in self.truth.tasks() {
                if !inner.model.tales.contains_key(&info.id) {
                    let how = format!("number {} is stored, and nobody stored it", number(&info));
                    return Err(Broken { rule: Rule::States, how, task: None, place: None });
                }
            }
            let ids: Vec<TaskId> = inner.model.tales.keys().copied().collect();
            for id in ids {
                self.see(inner, None, id, By::Nobody)?;
            }
            let now = self.now();
            for ((id, lease), run) in &inner.model.runs {
                if run.end.is_some() || inner.seats[run.seat].is_dead() {
                    continue;
                }
                let told = run.must_end.is_some_and(|at| at < now);
                let late = run.over.is_some_and(|at| at + STOPPED_WITHIN < now);
                let rule = if told { Rule::StopsWhenTold } else { Rule::StopsInTime };
                if told || late {
                    let how = format!("the run of lease {lease} goes on");
                    let (task, place) = (inner.model.n(*id), Some(run.place));
                    return Err(Broken { rule, how, task, place });
                }
            }
            self.nothing_lies(inner)?;
            self.nothing_is_held_in_vain(inner)?;
            self.no_two_at_once(inner)?;
            self.series_stand(inner)?;
            inner.model.overlaps()
        });
    }
}

/// Whether a task that has just been stored is what was asked for.
fn as_asked(task: &NewTask, tale: Option<&Tale>, clock: SystemTime) -> Result<(), String> {
    let Some(info) = tale.and_then(|tale| tale.info.as_ref()) else { return Ok(()) };
    let due = match task.due {
        Due::Now => clock,
        Due::After(delay) => clock + delay,
        Due::At(at) => at.max(clock),
    };
    if micros(info.due).abs_diff(micros(due)) > 1 {
        return Err(format!("it is due at {:?}, and was to be at {due:?}", info.due));
    }
    let what = (&info.payload, info.name.as_str(), info.queue.as_str(), info.version);
    let asked = (&task.payload, &*task.name, &*task.queue, task.version);
    if what != asked {
        return Err(format!("it is {what:?}, and was to be {asked:?}"));
    }
    match info.attempt {
        0 => Ok(()),
        spent => Err(format!("{spent} of its tries are spent")),
    }
}
