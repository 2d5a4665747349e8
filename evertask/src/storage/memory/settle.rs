//! Running → what the verdict says.

use super::{row::Row, table::Table};
use crate::{
    storage::{
        Effect, Settled, Settlement,
        rules::{self, Transition},
    },
    task::TaskState,
    verdict::Verdict,
};

impl Table {
    pub(super) fn settle(&mut self, settlement: Settlement, now: i64) -> Settled {
        let Some(row) = self.rows.get(&settlement.id) else {
            self.rings.ended.push(settlement.id);
            return rules::gone(&settlement);
        };
        if row.state != TaskState::Running || row.lease != settlement.lease {
            let (state, written) = (row.state, row.written(settlement.lease));
            if !rules::repeated(&settlement, row.lease, state, written) {
                return Settled::Refused;
            }
            match state {
                TaskState::Running => {}
                TaskState::Pending => self.rings.again(),
                TaskState::Completed | TaskState::Failed | TaskState::Cancelled => {
                    self.rings.ended.push(settlement.id);
                }
            }
            return Settled::Applied(state);
        }
        let to = Transition::of(&settlement, row.rare.cancel_asked, row.counters);
        let completes = to.state == TaskState::Completed;
        if let (true, Err(why)) = (completes, rules::check_effects(&settlement.effects)) {
            return Settled::Unstorable(why);
        }
        self.go(&settlement, &to, now);
        if completes {
            for effect in settlement.effects {
                match effect {
                    Effect::Enqueue(task) => {
                        self.enqueue_one(*task, now);
                    }
                }
            }
        }
        Settled::Applied(to.state)
    }

    fn go(&mut self, settlement: &Settlement, to: &Transition, now: i64) {
        let completes = to.state == TaskState::Completed;
        let change = |row: &mut Row| {
            let began_unmarked = row.hold.is_none_or(|hold| !hold.begun)
                && (settlement.attempt.is_some() || settlement.verdict == Verdict::Complete);
            if began_unmarked {
                row.started = Some(rules::before(now, settlement.ran));
            }
            if let Some(attempt) = &settlement.attempt {
                row.write_down(attempt, settlement.ran, now);
            }
            row.counters = to.counters;
            row.due = to.delay.map_or(row.due, |delay| rules::after(now, delay));
            if completes {
                row.output = settlement.output.clone();
                let output_error = settlement.output_error.as_deref().map(rules::storable_error);
                if output_error.is_some() {
                    row.rare.place().output_error = output_error;
                }
                if let Some(rare) = row.rare.there() {
                    rare.error = None;
                }
            } else if to.error.is_some() {
                row.rare.place().error.clone_from(&to.error);
            }
        };
        if to.state.is_final() {
            let keep = rules::keep_for(&settlement.keep, to.state);
            self.end(settlement.id, now, to.state, keep, change);
        } else {
            self.update(settlement.id, now, |row| {
                change(row);
                row.release(to.state);
            });
        }
    }
}
