//! Nodes that have nothing to do, and tasks that wait for one.

use std::{sync::Arc, time::Duration};

use evertask::{TaskInfo, TaskState, verdict::SUSPECT_AFTER};

use crate::{
    model::Tale,
    rules::{Broken, Rule},
    seat::Seat,
    world::{Inner, World},
};

/// How long a due task waits at most while one node that could run it has nothing to do: until its safety look, and until a call
/// or two have gone unanswered.
const FOUND_WITHIN: Duration = Duration::from_secs(160);

/// How soon a node begins what it has dispatched itself, if it has nothing else to do.
const OWN_WITHIN: Duration = Duration::from_secs(2);

impl World {
    /// No due task waits for long while somebody could run it.
    pub(crate) fn nothing_lies(&self, inner: &mut Inner) -> Result<(), Broken> {
        let (now, clock) = (self.now(), self.truth.clock());
        let idle: Vec<(usize, Arc<Seat>)> = inner
            .places
            .iter()
            .flatten()
            .filter(|it| is_idle(it))
            .map(|seat| (self.index(inner, seat), Arc::clone(seat)))
            .collect();
        // One that may kill its node is waited for, and alone.
        let live = |it: &TaskInfo| !it.state.is_final() && it.losses >= SUSPECT_AFTER;
        let suspects = inner.model.tales.values().any(|it| it.info.as_ref().is_some_and(live));
        for tale in inner.model.tales.values_mut() {
            let Some(info) = tale.info.as_ref().filter(|info| waits(tale, info, clock)) else {
                tale.lies.clear();
                continue;
            };
            let able = |seat: &Seat| seat.release.reads(&info.name, info.version);
            let able: Vec<_> = idle.iter().filter(|(_, seat)| able(seat)).collect();
            let (task, name) = (Some(tale.n), &info.name);
            if let (Some((by, rung)), 0, false) = (tale.rung, info.lease, suspects)
                && let Some((_, seat)) = able.iter().find(|(index, _)| *index == by)
                && let overdue = clock.duration_since(info.due).unwrap_or_default()
                && let idle = now.saturating_sub(seat.busy_at())
                && let late = overdue.min(now - rung).min(idle)
                && late > OWN_WITHIN
                && seat.undisturbed_since(rung)
            {
                let (rule, place) = (Rule::OwnAtOnce, Some(seat.place));
                let how = format!("a task of {name} is due for {late:?} where it came from");
                return Err(Broken { rule, how, task, place });
            }
            tale.lies.retain(|index, _| able.iter().any(|(of, _)| of == index));
            for (index, seat) in able {
                let since = *tale.lies.entry(*index).or_insert(now);
                if now - since > FOUND_WITHIN {
                    let how = format!("a task of {name} lies there, and the node does nothing");
                    let (rule, place) = (Rule::FoundSomeTime, Some(seat.place));
                    return Err(Broken { rule, how, task, place });
                }
            }
        }
        Ok(())
    }
}

/// It is due, and nothing keeps anybody from running it.
fn waits(tale: &Tale, info: &TaskInfo, clock: std::time::SystemTime) -> bool {
    let expired = tale.asked.2.is_some_and(|at| at <= clock);
    let suspect = info.losses >= SUSPECT_AFTER;
    info.state == TaskState::Pending && info.due <= clock && !expired && !suspect
}

fn is_idle(seat: &Seat) -> bool {
    let able = seat.runtime().is_some() && !seat.stands() && seat.reaches().is_ok();
    able && seat.slots > 0 && seat.inside.lock().unwrap().running.is_empty()
}
