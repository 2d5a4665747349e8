//! What each node has seen of the schedules. What it makes of them follows from that, and from nothing that came later.

use std::{collections::BTreeMap, time::SystemTime};

use evertask::{TaskId, storage::StoredSchedule};
use uuid::Uuid;

use crate::model::Model;

/// What all of them have seen.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// What each life was told that the storage's clock says.
    clocks: BTreeMap<usize, Vec<SystemTime>>,
    /// By life, and by which change wrote what it saw.
    seen: BTreeMap<(usize, Uuid), Seen>,
    /// The task that each series has made last, by name and key.
    pub(crate) last: BTreeMap<(String, String), TaskId>,
}

/// A schedule as a node has seen it.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// How often it had been told the time before.
    before: usize,
    /// The task before lived when it looked, and it had ended.
    lives: bool,
    over: bool,
}

/// What a node may go by: whether the task before lives, and what the clock says.
#[derive(Debug, Default)]
pub(crate) struct Basis {
    pub(crate) lives: Vec<bool>,
    pub(crate) clocks: Vec<SystemTime>,
}

impl Looks {
    /// A node is told the time, and of these schedules.
    pub(crate) fn told(
        &mut self,
        life: usize,
        now: SystemTime,
        due: &[StoredSchedule],
        model: &Model,
    ) {
        due.iter().for_each(|stored| self.shown(life, stored, model));
        self.clocks.entry(life).or_default().push(now);
    }

    /// A node is shown a schedule.
    pub(crate) fn shown(&mut self, life: usize, stored: &StoredSchedule, model: &Model) {
        let series = (stored.row.name.to_string(), stored.row.key.to_string());
        let last = self.last.get(&series).and_then(|id| model.tales.get(id));
        let lives = last.and_then(|tale| tale.info.as_ref()).is_some_and(|it| !it.state.is_final());
        let before = self.clocks.get(&life).map_or(0, Vec::len);
        let new = Seen { before, ..Seen::default() };
        let seen = self.seen.entry((life, stored.revision)).or_insert(new);
        (seen.lives, seen.over) = (seen.lives || lives, seen.over || !lives);
    }

    /// What this life may go by where it starts from this revision.
    pub(crate) fn basis(&self, life: usize, revision: Option<Uuid>) -> Basis {
        let seen = revision.and_then(|revision| self.seen.get(&(life, revision)));
        let (Some(seen), Some(clocks)) = (seen, self.clocks.get(&life)) else {
            return Basis::default();
        };
        let lives = [(seen.lives, true), (seen.over, false)];
        let lives = lives.into_iter().filter(|(is, _)| *is).map(|(_, lives)| lives).collect();
        Basis { lives, clocks: clocks[seen.before..].to_vec() }
    }
}
