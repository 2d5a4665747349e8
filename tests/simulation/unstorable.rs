//! What the storage cannot take: a part of the end of one task, or the tasks of one series. Everything else it takes.
//!
//! An end is stored without what cannot be, and says so; a series whose tasks cannot be stored is set aside. No other suffers.

use std::collections::BTreeSet;

use evertask::{
    StorageError, StorageErrorKind, TaskId, TaskState,
    storage::{NewTask, Settlement},
    verdict::Verdict,
};

use crate::{
    bugs::Bug,
    faults::Fault,
    model::{number, number_of},
    rules::{Broken, Rule},
    seat::Seat,
    world::{Inner, World},
};

/// What cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Output,
    /// What it stores on success.
    Effects,
    /// What its handler says that went wrong.
    Error,
    /// The tasks that a schedule makes.
    Ticks,
}

/// Ends and series of which the storage has said that it cannot take them.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    ends: BTreeSet<(TaskId, u64)>,
    series: BTreeSet<u32>,
    /// Those that were to be changed together with one of them.
    beside: BTreeSet<u32>,
}

/// What the engine says in the place of an error that cannot be stored.
const NO_TEXT: &str = "(the error text could not be stored)";

impl World {
    /// What cannot be stored of this task, and whether the storage says which of many it is.
    fn bad(&self, number: u32) -> Option<(Part, bool)> {
        self.plan.faults.iter().find_map(|fault| match fault {
            Fault::Unstorable { number: of, part, says_which } if *of == number => {
                Some((*part, *says_which))
            }
            _ => None,
        })
    }

    /// Why this cannot be stored, if it cannot, and whether the storage says which of many it is.
    fn is_bad(&self, settlement: &Settlement) -> Option<(String, bool)> {
        let task = self.truth.task(settlement.id)?;
        let (part, says_which) = self.bad(number(&task))?;
        let current = task.state == TaskState::Running && task.lease == settlement.lease;
        let completes = settlement.verdict == Verdict::Complete && !task.cancel_asked;
        let error = settlement.attempt.as_ref().and_then(|attempt| attempt.error.as_ref());
        let has_it = match part {
            Part::Output => completes && settlement.output.is_some(),
            Part::Effects => completes && !settlement.effects.is_empty(),
            Part::Error => error.is_some_and(|error| error.contains("planned")),
            Part::Ticks => false,
        };
        (current && has_it).then(|| (format!("task {}: {part:?}: too long", task.id), says_which))
    }

    /// Why each of these ends cannot be stored, if it cannot.
    ///
    /// # Errors
    /// One of them cannot, and the storage does not say which: nothing of them is stored.
    pub(crate) fn bad_ends(
        &self,
        batch: &[Settlement],
    ) -> Result<Vec<Option<String>>, StorageError> {
        let bad: Vec<_> = batch.iter().map(|settlement| self.is_bad(settlement)).collect();
        self.look(|inner| {
            for (settlement, _) in batch.iter().zip(&bad).filter(|(_, bad)| bad.is_some()) {
                inner.refused.ends.insert((settlement.id, settlement.lease));
            }
        });
        if let Some((why, _)) = bad.iter().flatten().find(|(_, says_which)| !says_which) {
            return Err(StorageError::new(StorageErrorKind::Rejected, why.clone()));
        }
        let spoilt = bad.iter().flatten().next().filter(|_| self.truth.has(Bug::OneSpoilsAll));
        let spoilt = spoilt.map(|(why, _)| why.clone());
        Ok(bad.into_iter().map(|bad| bad.map(|(why, _)| why).or(spoilt.clone())).collect())
    }

    /// Refuses all of these if one is of a series whose tasks cannot be stored.
    pub(crate) fn refuse_ticks<'a>(
        &self,
        tasks: impl Iterator<Item = &'a NewTask>,
    ) -> Result<(), StorageError> {
        let mut numbers: BTreeSet<u32> = tasks.map(|task| number_of(&task.payload)).collect();
        self.look(|inner| {
            let bad = |number: &u32| self.bad(*number).is_some_and(|(part, _)| part == Part::Ticks);
            let bad: BTreeSet<u32> = numbers.iter().copied().filter(bad).collect();
            let beside = numbers.iter().any(|number| inner.refused.beside.contains(number));
            if bad.is_empty() && !(beside && self.truth.has(Bug::OneTickSetsAllAside)) {
                return Ok(());
            }
            inner.refused.series.extend(bad);
            inner.refused.beside.append(&mut numbers);
            Err(StorageError::new(StorageErrorKind::Rejected, "a task of it is too long"))
        })
    }

    /// An end was stored: without what could not be and with a word about that, and all else of it as it was.
    pub(crate) fn stored_as_it_can_be(
        &self,
        inner: &Inner,
        seat: &Seat,
        settlement: &Settlement,
        completes: bool,
    ) -> Result<(), Broken> {
        let tale = inner.model.tales.get(&settlement.id);
        let task = tale.and_then(|tale| tale.info.as_ref().or(tale.end.as_ref()));
        let Some((tale, task)) = tale.zip(task) else { return Ok(()) };
        let refused = inner.refused.ends.contains(&(settlement.id, settlement.lease));
        let part = self.bad(number(task)).map(|(part, _)| part).filter(|_| refused);
        let output_lost = matches!(part, Some(Part::Output | Part::Effects));
        let told = match &tale.info {
            Some(info) => info.output_error.is_some(),
            None => settlement.output_error.is_some(),
        };
        let error = settlement.attempt.as_ref().and_then(|attempt| attempt.error.as_deref());
        let effect = self.plan.task(number(task)).is_some_and(|task| task.effect);
        let effects_lost = effect && settlement.effects.is_empty();
        let how = if completes && told != output_lost {
            format!("whether its output is lost: it says {told}, and it is {output_lost}")
        } else if completes && settlement.output.is_none() != output_lost {
            format!("its output is {:?}", settlement.output)
        } else if completes && effects_lost && part != Some(Part::Effects) {
            "what it was to store on success is lost".to_owned()
        } else if (error == Some(NO_TEXT)) != (part == Some(Part::Error)) {
            format!("what went wrong is {error:?}")
        } else {
            return Ok(());
        };
        let how = format!("of its end {part:?} cannot be stored: {how}");
        Err(Broken {
            rule: Rule::UnstorableAlone,
            how,
            task: Some(tale.n),
            place: Some(seat.place),
        })
    }

    /// A series was set aside. Its tasks cannot be stored.
    pub(crate) fn set_aside(
        &self,
        inner: &Inner,
        number: Option<u32>,
    ) -> Result<(), (Rule, String)> {
        match number.is_some_and(|number| inner.refused.series.contains(&number)) {
            true => Ok(()),
            false => {
                Err((Rule::UnstorableAlone, "it is set aside, and nothing is wrong with it".into()))
            }
        }
    }

    /// The tasks of this series cannot be stored.
    pub(crate) fn never_ticks(&self, number: u32) -> bool {
        self.bad(number).is_some_and(|(part, _)| part == Part::Ticks)
    }
}
