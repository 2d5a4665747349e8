//! Tasks that somebody holds, by what is stored: a dead node only for so long, and a living one for something.

use std::{sync::Arc, time::Duration};

use evertask::{TaskId, TaskState};

use crate::{
    model::{Holding, Tale},
    rules::{Broken, Rule},
    seat::Seat,
    world::{Inner, World},
};

/// How long it takes at most, beside the lease, until what a dead node held is another's: a look, and what answers are on their way.
const TAKEN_WITHIN: Duration = Duration::from_secs(3);

/// How long what was taken over waits to be judged, an end to be stored, and what is given out to begin or to be given back.
const DONE_WITHIN: Duration = Duration::from_secs(5);

impl World {
    /// Nothing stays with the dead, nor with those who do not know of it, while somebody is there who could see to it.
    pub(crate) fn nothing_is_held_in_vain(&self, inner: &Inner) -> Result<(), Broken> {
        for (id, tale) in &inner.model.tales {
            let running = tale.info.as_ref().filter(|info| info.state == TaskState::Running);
            let Some((holding, lease)) = tale.held.zip(running.map(|info| info.lease)) else {
                continue;
            };
            let Some(holder) = inner.seats.get(holding.by) else { continue };
            let told = match holder.gone_at() {
                // A claim that was long on its way may bring it something when it is dead already, and a renewal that was says that
                // it lives.
                Some(gone) => {
                    let lived = holder.beat_at().map_or(gone, |beat| beat.max(gone));
                    let since = holding.since.max(lived - self.start);
                    self.taken_from_the_dead(inner, holder, since)
                }
                None => self.seen_to(inner, holder, (tale, holding), (*id, lease)),
            };
            told.map_err(|(rule, how, place)| Broken {
                rule,
                how,
                task: Some(tale.n),
                place: Some(place),
            })?;
        }
        Ok(())
    }

    /// Whoever lives and is in touch takes it over.
    fn taken_from_the_dead(
        &self,
        inner: &Inner,
        dead: &Arc<Seat>,
        since: Duration,
    ) -> Result<(), (Rule, String, usize)> {
        let lease = self.plan.lease;
        let bound = lease + lease / 2 + TAKEN_WITHIN;
        let late = |seat: &&Arc<Seat>| self.has_had_time(seat, since, bound);
        match inner.places.iter().flatten().find(|seat| !Arc::ptr_eq(seat, dead) && late(seat)) {
            None => Ok(()),
            Some(seat) => {
                let how = format!(
                    "node {} is dead, and what it held is its own since {:?}",
                    dead.place,
                    self.now() - since
                );
                Err((Rule::RescuedSoon, how, seat.place))
            }
        }
    }

    /// What a living node has taken over it judges; what has ended there is stored; and it begins what it was given.
    fn seen_to(
        &self,
        inner: &Inner,
        holder: &Seat,
        (tale, holding): (&Tale, Holding),
        (id, lease): (TaskId, u64),
    ) -> Result<(), (Rule, String, usize)> {
        let run = inner.model.runs.get(&(id, lease));
        let ended = run.map(|run| run.end.map(|(at, _)| at));
        let (rule, since, what) = match (holding.seized, ended) {
            (true, _) => (Rule::RescuedSoon, holding.since, "was taken over and is not judged"),
            (false, Some(None)) => return Ok(()),
            (false, Some(Some(at))) => (Rule::NotHeldInVain, at, "has ended, and is still held"),
            // Taken ahead, it is given back if it has no slot in a second.
            (false, None) => (Rule::NotHeldInVain, holding.since, "was given out and never began"),
        };
        if self.has_had_time(holder, since, DONE_WITHIN) {
            let name = tale.info.as_ref().map_or("", |info| &info.name);
            let how = format!("a task of {name} {what}, since {:?}", self.now() - since);
            return Err((rule, how, holder.place));
        }
        Ok(())
    }

    /// It has been there and in touch for as long since that.
    fn has_had_time(&self, seat: &Seat, since: Duration, bound: Duration) -> bool {
        let able = seat.place < self.plan.nodes.len() && seat.runtime().is_some();
        let able = able && !seat.stands() && seat.reaches().is_ok();
        able && since.max(seat.disturbed()) + bound < self.now()
    }
}
