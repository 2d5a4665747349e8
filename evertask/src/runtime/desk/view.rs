//! What others see of the desk: the keeper, health, shutdown.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{Desk, Held, Phase};
use crate::{storage::Claims, task::TaskId};

/// An attempt taken ahead that runs longer than this is reported as begun, so that a crash counts against it.
const MARK_AFTER: Duration = Duration::from_secs(1);

/// One attempt that runs now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunningTask {
    /// The task.
    pub id: TaskId,
    /// The name of its handler.
    pub name: Arc<str>,
    /// Its queue.
    pub queue: Arc<str>,
    /// How long it has been running.
    pub ran: Duration,
}

impl Desk {
    /// Attempts taken ahead that have been running for a while and are not marked as begun.
    pub(crate) fn unmarked(&self) -> Vec<(TaskId, u64)> {
        let state = self.state();
        let long = |held: &Held| match &held.phase {
            Phase::Running { since, marked, .. } => !marked && since.elapsed() > MARK_AFTER,
            Phase::Ahead | Phase::Starting { .. } | Phase::Ended => false,
        };
        state
            .held
            .iter()
            .filter(|(_, held)| long(held))
            .map(|(id, held)| (*id, held.lease))
            .collect()
    }

    pub(crate) fn mark(&self, begun: &[(TaskId, u64)]) {
        let mut state = self.state();
        for (id, lease) in begun {
            if let Some(held) = state.held.get_mut(id)
                && held.lease == *lease
                && let Phase::Running { marked, .. } = &mut held.phase
            {
                *marked = true;
            }
        }
    }

    /// Every lease that is neither stored as ended nor on its way there.
    pub(crate) fn leases(&self) -> Vec<(TaskId, u64)> {
        let live = |held: &&Held| !matches!(held.phase, Phase::Ended);
        let state = self.state();
        state
            .held
            .iter()
            .filter(|(_, held)| live(held))
            .map(|(id, held)| (*id, held.lease))
            .collect()
    }

    pub(crate) fn holds(&self, id: TaskId, lease: u64) -> bool {
        self.state().held.get(&id).is_some_and(|held| held.lease == lease)
    }

    /// By which claims it holds anything, and which have been answered.
    pub(crate) fn claims(&self) -> Claims {
        let state = self.state();
        let held: BTreeSet<u64> = state.held.values().map(|held| held.claim).collect();
        Claims { held: held.into_iter().collect(), answered: state.claims_done }
    }

    /// How many tasks are held in any way.
    pub(crate) fn len(&self) -> usize {
        self.state().held.len()
    }

    /// How many attempts run or are about to.
    pub(crate) fn used(&self) -> usize {
        self.state().used
    }

    pub(crate) fn running(&self) -> Vec<RunningTask> {
        let state = self.state();
        let running = state.held.iter().filter_map(|(id, held)| match &held.phase {
            Phase::Running { since, .. } => Some(RunningTask {
                id: *id,
                name: Arc::clone(&held.name),
                queue: Arc::clone(&state.queues[held.queue].name),
                ran: since.elapsed(),
            }),
            Phase::Ahead | Phase::Starting { .. } | Phase::Ended => None,
        });
        running.collect()
    }

    /// The handlers that are being polled right now.
    pub(crate) fn polled(&self) -> Vec<Arc<str>> {
        let state = self.state();
        let polled =
            |held: &&Held| matches!(&held.phase, Phase::Running { ctx, .. } if ctx.is_polled());
        let mut names: Vec<_> =
            state.held.values().filter(polled).map(|held| Arc::clone(&held.name)).collect();
        names.sort();
        names.dedup();
        names
    }

    pub(crate) fn queues(&self) -> Vec<Arc<str>> {
        self.state().queues.iter().map(|queue| Arc::clone(&queue.name)).collect()
    }
}
