//! What is to be told in this process after a commit. Others are not told what it was: they are woken, and look.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    storage::{Bell, Due, rules},
    task::TaskId,
};

/// What has happened, for those who may be waiting for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Rings {
    /// Something is due now.
    due: bool,
    /// The soonest of what will be due.
    soonest: Option<Duration>,
    pub(super) orders: bool,
    pub(super) peers: bool,
    pub(super) schedules: bool,
    pub(super) ended: BTreeSet<TaskId>,
}

impl Rings {
    /// Something is pending that becomes due after this time.
    pub(super) fn work(&mut self, due_in: Duration) {
        if due_in.is_zero() {
            self.due = true;
        } else {
            self.soonest = Some(self.soonest.map_or(due_in, |soonest| soonest.min(due_in)));
        }
    }

    /// What was asked for had been done before, and perhaps not been told, as its answer was not: all look.
    pub(super) fn again(&mut self) {
        self.work(Duration::ZERO);
    }

    /// A task is stored that was to be due so.
    pub(super) fn stored(&mut self, due: Due, now: i64) {
        self.work(rules::between(now, rules::due_at(due, now)));
    }

    /// Others may sleep until something like this happens. Who waits for the end of a task or of a node, or for one that is due later, looks now
    /// and then.
    pub(super) fn concern_others(&self) -> bool {
        self.due || self.orders || self.schedules
    }

    pub(super) fn ring(self, bell: &Bell) {
        if self.due {
            bell.work(Duration::ZERO);
        }
        if let Some(due_in) = self.soonest {
            bell.work(due_in);
        }
        if self.orders {
            bell.orders();
        }
        if self.peers {
            bell.peers();
        }
        if self.schedules {
            bell.schedules();
        }
        bell.ended(self.ended);
    }
}
