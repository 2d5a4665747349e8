//! Schedules: those who store them, the ticks as they arrive at the storage, and what all have come to in the end.

use std::{fmt, sync::Arc, time::Duration};

use evertask::storage::{
    DueSchedules, Known, ScheduleChange, ScheduleChanged, ScheduleRow, Storage as _, StoredSchedule,
};
use tokio::time::sleep;

use crate::{
    bells::Ring,
    faults::Fault,
    handlers::schedule,
    ledger::{ASKED, Ask, Asked, Line, may_become},
    looks::Basis,
    model::By,
    people::somebody,
    plan::HOUR,
    rules::{Broken, Rule},
    seat::Seat,
    series::{RulePlan, SchedulePlan, SeriesWish},
    tides,
    truth::Answer,
    wall,
    world::{Inner, World},
};

impl World {
    pub(crate) fn change_schedules(
        &self,
        seat: &Arc<Seat>,
        changes: Vec<ScheduleChange>,
        asked: Option<Asked>,
    ) -> Answer<Vec<ScheduleChanged>> {
        let changes = self.truth.misticked(changes, asked);
        let stored = |change: &ScheduleChange| {
            self.truth.stored_schedule(&change.name, &change.key).ok().flatten()
        };
        let before: Vec<_> = changes.iter().map(stored).collect();
        let what = asked.map(|(what, _)| what);
        self.refuse_ticks(changes.iter().flat_map(|change| &change.tasks))?;
        let changed = self.truth.change_schedules(changes.clone(), what)?;
        self.with(|inner| {
            for ((change, changed), before) in changes.iter().zip(&changed).zip(before) {
                let ScheduleChanged::Done(enqueued) = changed else { continue };
                let again = before.as_ref().is_some_and(|it| it.revision == change.revision);
                let gone = before.is_none() && change.to.is_none();
                let mut rule_changes = false;
                if !again && !gone {
                    let (old, new) = (before.map(|it| it.row), stored(change).map(|it| it.row));
                    let rule = |row: &ScheduleRow| Line::read(row).rule;
                    rule_changes = old.as_ref().map(rule) != new.as_ref().map(rule);
                    self.held_against_the_ledger(inner, seat, change, (old, new), asked)?;
                }
                // By another rule, and by a clock that was put back meanwhile, an instant may come up that was one before.
                if change.to.is_none() || rule_changes || what == Some(Ask::Revive) {
                    inner.ticks.retain(|(key, _), _| *key != *change.key);
                }
                self.note(inner, change);
                for (task, stored) in change.tasks.iter().zip(enqueued) {
                    self.see_asked(inner, seat, (task, stored.id), By::Schedule)?;
                    // A run out of turn is of no instant of its series.
                    let tick = task.tick.filter(|_| what != Some(Ask::RunNow));
                    let Some(at) = tick else { continue };
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

    /// By how much a clock may have been ahead that somebody has read before it was put back.
    pub(crate) fn ahead(&self) -> Duration {
        let back = |fault: &Fault| matches!(fault, Fault::Jump { by, .. } if *by < 0);
        let ahead = if self.plan.faults.iter().any(back) { 3 * HOUR } else { 0 };
        Duration::from_millis(ahead.unsigned_abs())
    }

    /// What is stored of a series now is what it may become.
    fn held_against_the_ledger(
        &self,
        inner: &mut Inner,
        seat: &Arc<Seat>,
        change: &ScheduleChange,
        (old, new): (Option<ScheduleRow>, Option<ScheduleRow>),
        asked: Option<Asked>,
    ) -> Result<(), Broken> {
        let ahead = self.ahead();
        let asked = asked.map(|(what, at)| (what, at - ahead));
        let (old, new) = (old.as_ref().map(Line::read), new.as_ref().map(Line::read));
        let state = new.as_ref().map_or("removed", |line| &line.state);
        let runs = new.as_ref().map_or(0, |line| line.runs);
        let text = format!("schedule {}: {state}, {runs} runs ({asked:?})", change.key);
        inner.history.say(self.now(), Some(seat.place), None, text);
        let basis = inner.looks.basis(self.index(inner, seat), change.from);
        let clock = self.truth.clock() + ahead;
        let aside = |line: &Option<Line>| line.as_ref().is_some_and(|line| line.state == "broken");
        if asked.is_none() && aside(&new) && !aside(&old) {
            let mut plans = self.plan.schedules.iter();
            let number = plans.find(|plan| plan.key() == *change.key).map(|plan| plan.number);
            let told = self.set_aside(inner, number);
            return told.map_err(|(rule, how)| Broken {
                rule,
                how: format!("{}: {how}", change.key),
                task: None,
                place: Some(seat.place),
            });
        }
        let held = match one_of_a_series(old.as_ref(), change, asked, &basis) {
            Ok(()) => may_become(old.as_ref(), new.as_ref(), &change.tasks, asked, (clock, &basis)),
            twice => twice,
        };
        held.map_err(|(rule, how)| Broken {
            rule,
            how: format!("{}: {how}", change.key),
            task: None,
            place: Some(seat.place),
        })
    }

    /// A schedule was changed: what is stored of it now, and what it has made last.
    fn note(&self, inner: &mut Inner, change: &ScheduleChange) {
        let series = (change.name.to_string(), change.key.to_string());
        if let Some(task) = change.tasks.last() {
            inner.looks.last.insert(series.clone(), task.id);
        }
        let stored = self.truth.stored_schedule(&change.name, &change.key).ok().flatten();
        match stored {
            Some(stored) => {
                inner.made_up.stored(&change.key, &Line::read(&stored.row));
                inner.series.insert(series, stored.row);
            }
            None => {
                inner.looks.last.remove(&series);
                inner.series.remove(&series);
            }
        }
    }

    /// Nothing changes a series but a change of it: not what becomes of its tasks, and not tasks that are made up.
    pub(crate) fn series_stand(&self, inner: &Inner) -> Result<(), Broken> {
        for ((name, key), row) in &inner.series {
            let stored = self.truth.stored_schedule(name, key).ok().flatten().map(|it| it.row);
            if stored.as_ref() != Some(row) {
                let now = stored.as_ref().map(Line::read);
                let how =
                    format!("{key} was {:?}, and nobody changed it to {now:?}", Line::read(row));
                return Err(Broken { rule: Rule::SeriesAsAsked, how, task: None, place: None });
            }
        }
        Ok(())
    }

    pub(crate) fn due_schedules(
        &self,
        seat: &Arc<Seat>,
        handlers: Arc<[Known]>,
        format: u32,
        limit: usize,
    ) -> Answer<DueSchedules> {
        let due = self.read(|memory| memory.due_schedules(Arc::clone(&handlers), format, limit))?;
        self.look(|inner| {
            let life = self.index(inner, seat);
            inner.looks.told(life, due.now, &due.due, &inner.model);
        });
        self.truth.due_schedules(handlers, format, limit)
    }

    pub(crate) fn schedule(
        &self,
        seat: &Arc<Seat>,
        name: &str,
        key: &str,
    ) -> Answer<Option<StoredSchedule>> {
        let stored = self.truth.stored_schedule(name, key)?;
        self.look(|inner| {
            let life = self.index(inner, seat);
            stored.iter().for_each(|stored| inner.looks.shown(life, stored, &inner.model));
        });
        Ok(stored)
    }
}

/// A series that is not to overlap makes no task by itself while the one that it made last lives, as far as the node has seen.
fn one_of_a_series(
    old: Option<&Line>,
    change: &ScheduleChange,
    asked: Option<Asked>,
    basis: &Basis,
) -> Result<(), (Rule, String)> {
    let alone = old.is_some_and(|line| line.overlap != "allow");
    if !alone || asked.is_some() || change.tasks.is_empty() || basis.lives.contains(&false) {
        return Ok(());
    }
    Err((Rule::OneOfASeries, "it makes a task while the one before lives".to_owned()))
}

pub(crate) async fn ask_for_schedule(world: Arc<World>, plan: SchedulePlan) {
    if plan.rule == RulePlan::Declared {
        return;
    }
    sleep(plan.at).await;
    let (seat, runtime) = somebody(&world, plan.by, |_| true).await;
    world.say(Some(&seat), None, || format!("stores a schedule: {plan:?}"));
    let stored = ASKED
        .scope((Ask::Store, world.truth.clock()), seat.does(schedule(&runtime, &plan)))
        .await
        .is_ok();
    drop(runtime);
    seat.pass().await;
    world.say(Some(&seat), None, || format!("schedule {} stored: {stored}", plan.number));
}

pub(crate) async fn wish_for_series(world: Arc<World>, wish: SeriesWish) {
    sleep(wish.at).await;
    let Some(plan) = world.plan.schedules.iter().find(|plan| plan.number == wish.number) else {
        return;
    };
    let rule = match plan.rule {
        RulePlan::Elapsed { runs, .. } => RulePlan::Elapsed { every: wish.every, runs },
        other => other,
    };
    let (again, key) = (SchedulePlan { rule, ..plan.clone() }, plan.key());
    let name = if rule == RulePlan::Declared { tides::NAME } else { "alpha" };
    let (seat, runtime) = somebody(&world, wish.by, |_| true).await;
    let (schedules, asked) = (runtime.schedules(), world.truth.clock());
    let what = async {
        match wish.what {
            Ask::Store => schedule(&runtime, &again).await.map_err(|error| error.to_string()),
            Ask::Pause => said(schedules.pause(name, &key).await),
            Ask::Resume => said(schedules.resume(name, &key).await),
            Ask::SkipNext => said(schedules.skip_next(name, &key).await),
            Ask::RunNow => said(schedules.run_now(name, &key).await),
            Ask::Remove => said(schedules.remove(name, &key).await),
            Ask::Cancel => said(schedules.cancel(name, &key).await),
            Ask::Revive => said(schedules.revive(name, &key).await),
            Ask::Backfill(back, lasts) => {
                let range = asked - back..asked - back + lasts;
                let made = schedules.backfill(name, &key, range.clone()).await;
                if let Ok(made) = &made {
                    world.all_made_up(&key, range, asked, made.len());
                }
                said(made)
            }
        }
    };
    let told = ASKED.scope((wish.what, asked), seat.does(what)).await;
    drop(runtime);
    seat.pass().await;
    world.say(Some(&seat), None, || format!("schedule {key}: {:?}: {told:?}", wish.what));
}

fn said<T, E: fmt::Display>(done: Result<T, E>) -> Result<(), String> {
    done.map(drop).map_err(|error| error.to_string())
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
            // Whatever people asked for, each change was looked at when it was made.
            if world.plan.series_wishes.iter().any(|wish| wish.number == plan.number) {
                all_made(world, &key, runs)?;
                continue;
            }
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
            let runs = if world.never_ticks(plan.number) { 0 } else { runs };
            if ticks != runs && world.truth.has_schedule(&key) {
                let how = format!("{key} made {ticks} tasks of {runs}");
                return Err(Broken { rule: Rule::TickOnce, how, task: None, place: None });
            }
        }
        Ok(())
    });
}

/// One that has ended has made as many tasks as it was to.
fn all_made(world: &World, key: &str, runs: u64) -> Result<(), Broken> {
    let stored = world.truth.stored_schedule("alpha", key).ok().flatten();
    let line = stored.map(|stored| Line::read(&stored.row));
    match line.filter(|line| line.state == "ended" && line.runs != runs) {
        None => Ok(()),
        Some(line) => {
            let how = format!("{key} has ended after {} runs of {runs}", line.runs);
            Err(Broken { rule: Rule::RunsAreCounted, how, task: None, place: None })
        }
    }
}
