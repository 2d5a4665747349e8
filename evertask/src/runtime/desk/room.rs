//! How much room there is, in which queues, and what a claim is to ask for.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Desk, State, end};
use crate::{
    runtime::pace::AHEAD_MAX,
    storage::{ClaimedTask, Room},
};

/// A task taken ahead that has waited this long for a slot is given back.
const AHEAD_AT_MOST: Duration = Duration::from_secs(1);

/// What a claim is to ask for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) rooms: Vec<Room>,
    pub(crate) slots: usize,
}

impl Desk {
    /// Tasks may have become due in any queue.
    pub(crate) fn look(&self) {
        self.state().queues.iter_mut().for_each(|queue| queue.due = true);
    }

    /// A claim has found nothing more that is due in these queues.
    pub(crate) fn seen(&self, rooms: &[Room]) {
        let mut state = self.state();
        let State { queues, by_name, .. } = &mut *state;
        for index in rooms.iter().filter_map(|room| by_name.get(&room.queue)) {
            queues[*index].due = false;
        }
    }

    /// Where one task could begin now, in whatever queue; `None` if nowhere.
    pub(crate) fn room_for_one(&self) -> Option<Vec<Room>> {
        let state = self.state();
        if state.takes_none() || state.used >= state.limit {
            return None;
        }
        let free = state.queues.iter().filter(|queue| queue.used < queue.limit);
        let rooms: Vec<_> =
            free.map(|queue| Room { queue: queue.name.clone(), slots: 1, ahead: 0 }).collect();
        (!rooms.is_empty()).then_some(rooms)
    }

    /// The room there is for more tasks, in queues that may have some; `None` if there is none worth a claim.
    pub(crate) fn wanted(&self) -> Option<Wanted> {
        let mut state = self.state();
        let state = &mut *state;
        // What has ended but is not stored yet is bounded too: a storage that takes claims but no settlements gets no more. It is
        // as much as two claims bring, so that one is under way while what the one before brought is being stored.
        let ahead: usize = state.queues.iter().map(|queue| queue.ahead.len()).sum();
        if state.takes_none() || state.held.len() - ahead > 4 * state.limit + 2 * AHEAD_MAX {
            return None;
        }
        let slots = state.limit.saturating_sub(state.used);
        // All slots are taken, but by quick tasks with more of them behind: they pass from one to the next without ever being
        // free. So that this starves no other queue, each of those may have one task among them.
        let passing = slots == 0 && state.queues.iter().any(|queue| !queue.ahead.is_empty());
        let (later, first) = state.queues.split_at(state.turn);
        let rooms: Vec<_> = first
            .iter()
            .chain(later)
            .filter(|queue| queue.due)
            .filter_map(|queue| {
                let own = queue.limit.saturating_sub(queue.used);
                let free = own.min(slots);
                let depth = queue.pace.ahead(queue.limit);
                // Filled up when half empty: fewer, larger claims.
                let ahead = if depth > 0 && queue.ahead.len() <= depth / 2 {
                    depth - queue.ahead.len()
                } else {
                    usize::from(passing && own > 0 && queue.ahead.is_empty())
                };
                let room = Room { queue: Arc::clone(&queue.name), slots: free, ahead };
                (free + ahead > 0).then_some(room)
            })
            .collect();
        if rooms.is_empty() {
            return None;
        }
        state.turn = (state.turn + 1) % state.queues.len();
        Some(Wanted { rooms, slots })
    }

    /// Takes off the desk what has waited for a slot for too long.
    pub(crate) fn overdue(&self) -> Vec<ClaimedTask> {
        let mut state = self.state();
        let State { queues, held, .. } = &mut *state;
        let now = Instant::now();
        let mut overdue = Vec::new();
        for queue in queues {
            while queue.ahead.front().is_some_and(|(since, _)| now - *since > AHEAD_AT_MOST) {
                // Slots are not coming free, so these are not quick.
                queue.pace.saw_none();
                overdue.extend(queue.ahead.pop_front().map(|(_, task)| task));
            }
        }
        overdue.iter().for_each(|task| end(held, task.id));
        overdue
    }
}
