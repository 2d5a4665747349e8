//! What comes of a history in which nothing goes wrong, foretold from its plan alone.

use evertask::{Overlap, TaskState};

use crate::{
    handlers,
    model::{Tale, number},
    plan::{Act, EFFECTS, Plan, Release, TaskPlan},
    rules::{Broken, Rule},
    world::{Inner, World},
};

/// How many tries a task has after the first if nothing is said about that.
const RETRIES: u32 = 10;

/// What becomes of a task.
#[derive(Debug, PartialEq)]
struct Fate {
    runs: usize,
    state: TaskState,
    /// Tries spent.
    tries: u32,
}

impl Plan {
    /// The same without anything that goes wrong.
    pub(crate) fn quiet(seed: u64) -> Self {
        let mut plan = Self::of(seed);
        (plan.faults, plan.wishes) = (Vec::new(), Vec::new());
        plan.series_wishes.clear();
        plan.tasks.iter_mut().for_each(|task| task.gives_up = None);
        plan.nodes.iter_mut().for_each(|(_, release)| *release = Release::Third);
        for act in plan.tasks.iter_mut().flat_map(|task| &mut task.acts) {
            if matches!(act, Act::Kill | Act::Block(_)) {
                *act = Act::FailForGood;
            }
        }
        plan
    }

    fn is_quiet(&self) -> bool {
        let mut acts = self.tasks.iter().flat_map(|task| &task.acts);
        let harmless = !acts.any(|act| matches!(act, Act::Kill | Act::Block(_)));
        let newest = self.nodes.iter().all(|(_, release)| *release == Release::Third);
        harmless
            && newest
            && self.faults.is_empty()
            && self.wishes.is_empty()
            && self.series_wishes.is_empty()
    }

    /// What becomes of a task whose runs are not disturbed.
    fn fate(&self, number: u32, retries: u32) -> Fate {
        let mut tries = 1;
        let too_long = |time| handlers::limit(number).is_some_and(|limit| time >= limit);
        for runs in 1.. {
            let fate = |state| Fate { runs, state, tries };
            let fails = match self.act(number, runs - 1) {
                Act::Return(works) => too_long(works),
                Act::Listen(waits, then) => too_long(waits + then),
                Act::Fail(_) | Act::FailAsking(_) | Act::Panic | Act::Hang => true,
                Act::Snooze(_) => continue,
                Act::FailForGood => return fate(TaskState::Failed),
                Act::GiveUp => return fate(TaskState::Cancelled),
                Act::Block(_) | Act::Kill => unreachable!("nothing goes wrong here"),
            };
            if !fails {
                return fate(TaskState::Completed);
            }
            if tries > retries {
                return fate(TaskState::Failed);
            }
            tries += 1;
        }
        unreachable!("the last act is repeated, and none snoozes for ever")
    }
}

/// Everything has ended: as it was to, if nothing went wrong.
pub(crate) fn check(world: &World) {
    if !world.plan.is_quiet() {
        return;
    }
    world.with(|inner| {
        for task in &world.plan.tasks {
            // No program knows that one any more.
            let known = Release::Third.has(task.handler);
            let known = known && task.gives_up.is_none();
            if known && !inner.model.answers.contains_key(&task.number) {
                return Err(broken(None, format!("number {} was not stored", task.number)));
            }
            effects(inner, task)?;
        }
        inner.model.tales.values().try_for_each(|tale| one(&world.plan, tale))
    });
}

fn broken(task: Option<usize>, how: String) -> Broken {
    Broken { rule: Rule::AsInAQuietWorld, how, task, place: None }
}

/// Another task for each that has completed, if that was asked for.
fn effects(inner: &Inner, task: &TaskPlan) -> Result<(), Broken> {
    let ended = || inner.model.tales.values().filter_map(|tale| tale.end.as_ref());
    let completed = |info: &&evertask::TaskInfo| info.state == TaskState::Completed;
    let done = ended().filter(completed).filter(|info| number(info) == task.number).count();
    let effects = ended().filter(completed).filter(|it| number(it) == task.number + EFFECTS);
    let (effects, wanted) = (effects.count(), if task.effect { done } else { 0 });
    if effects == wanted {
        return Ok(());
    }
    let number = task.number;
    Err(broken(None, format!("number {number} has stored {effects} others, {wanted} it was to")))
}

fn one(plan: &Plan, tale: &Tale) -> Result<(), Broken> {
    let Some(end) = &tale.end else { return Err(broken(Some(tale.n), "it never ended".into())) };
    let number = number(end);
    let runs = tale.begun.values().sum();
    let Some(task) = plan.task(number) else {
        // Those that others and declarations make have nothing to do, those of schedules do what these say.
        let fate = Fate { runs, state: end.state, tries: end.attempt };
        let wanted = plan.fate(number, RETRIES);
        let series = plan.schedules.iter().find(|series| series.number == number);
        let replaced = series.is_some_and(|series| series.overlap == Overlap::CancelPrevious)
            && end.state == TaskState::Cancelled
            && runs <= wanted.runs;
        let how = || format!("{fate:?} of number {number}, {wanted:?} it was to be");
        return if fate == wanted || replaced { Ok(()) } else { Err(broken(Some(tale.n), how())) };
    };
    // Runs of what it was before it was replaced are those of another number.
    let runs = tale.begun.get(&number).copied().unwrap_or_default();
    let (fate, wanted) =
        (Fate { runs, state: end.state, tries: end.attempt }, plan.fate(number, task.retries));
    let expired = end.state == TaskState::Cancelled && task.expires.is_some();
    if fate == wanted || expired && runs <= wanted.runs {
        return Ok(());
    }
    Err(broken(Some(tale.n), format!("{fate:?} of number {number}, {wanted:?} it was to be")))
}
