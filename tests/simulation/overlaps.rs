//! Two runs of one task at the same time, and what excuses them.

use std::time::Duration;

use evertask::TaskId;

use crate::{
    check::STOPPED_WITHIN,
    model::RunSeen,
    rules::{Broken, Rule},
    world::{Inner, World},
};

impl World {
    /// A run begins when the one before has ended, whether anybody counts it or not: a node stops what it runs before others may
    /// have it. One that stands still or is blocked cannot; and whoever asked to be told has its grace.
    pub(crate) fn no_two_at_once(&self, inner: &Inner) -> Result<(), Broken> {
        let mut last: Option<(TaskId, u64, &RunSeen, Duration)> = None;
        for ((id, lease), run) in &inner.model.runs {
            let until = self.until(inner, run);
            let before = last.filter(|(of, ..)| of == id);
            if let Some((_, other, first, first_until)) = before
                && run.begin < first_until
                && !self.excused(inner, first, first_until, run.begin)
            {
                let over = first_until - run.begin;
                let how = format!(
                    "the run of lease {other} on node {} goes on for {over:?} beside that of lease {lease}",
                    first.place
                );
                let (task, place) = (inner.model.n(*id), Some(run.place));
                return Err(Broken { rule: Rule::NeverTwoAtOnce, how, task, place });
            }
            // The one that lasts longest is what the next is held against.
            last = match before {
                Some(before) if before.3 > until => Some(before),
                _ => Some((*id, *lease, run, until)),
            };
        }
        Ok(())
    }

    /// Until when it runs, as far as is known: it ends with its process at the latest.
    fn until(&self, inner: &Inner, run: &RunSeen) -> Duration {
        let gone = inner.seats[run.seat].gone_at().map(|at| at - self.start);
        run.end.map(|(at, _)| at).or(gone).unwrap_or_else(|| self.now())
    }

    fn excused(&self, inner: &Inner, run: &RunSeen, until: Duration, next: Duration) -> bool {
        let seat = &inner.seats[run.seat];
        // While its process stands it does not get on with its end.
        let inside = seat.inside.lock().unwrap();
        let stood = inside.stood_between(self.start + next, self.start + until);
        drop(inside);
        let asked = run.listens && until <= next + STOPPED_WITHIN + stood;
        asked || seat.stood_at(self.start + next)
    }
}
