//! Pending, due → running.

use super::{
    row::{Hold, Row},
    table::Table,
};
use crate::{
    storage::{Claim, Claimed, ClaimedTask, Room, handlers::Handlers, rules},
    task::{TaskId, TaskState},
};

/// How many expired tasks one claim clears away before it answers.
const EXPIRED_AT_ONCE: usize = 1_000;

impl Table {
    pub(super) fn claim(&mut self, claim: &Claim, now: i64) -> Claimed {
        let handlers = Handlers::new(&claim.handlers);
        let mut claimed = Claimed { tasks: self.got_before(claim, now), ..Claimed::default() };
        if claimed.tasks.is_empty() {
            let mut slots = claim.slots;
            for room in &claim.queues {
                self.fill(room, &mut slots, claim, &handlers, now, &mut claimed);
            }
        }
        claimed.tasks.sort_by_key(|task| !task.begun);

        let lanes = &self.index.lanes;
        let due = |suspects| {
            claim
                .queues
                .iter()
                .any(|room| lanes.due(&room.queue, &handlers, suspects, now).next().is_some())
        };
        claimed.more = due(false);
        claimed.suspect_due = due(true);
        if !claimed.more {
            let rooms = claim.queues.iter();
            let next = rooms.filter_map(|room| lanes.next_due(&room.queue, &handlers, now)).min();
            claimed.next_due = next.map(|due| rules::between(now, due));
        }
        claimed
    }

    /// What this very claim got when it was first made, and the node still holds.
    fn got_before(&self, claim: &Claim, now: i64) -> Vec<ClaimedTask> {
        let Some(held) = self.index.held.get(&claim.node) else { return Vec::new() };
        let of_claim = (claim.id, TaskId::from_uuid(uuid::Uuid::nil()))
            ..=(claim.id, TaskId::from_uuid(uuid::Uuid::max()));
        let rows = held.range(of_claim).filter_map(|(_, id)| self.rows.get(id));
        rows.map(|row| row.claimed(now)).collect()
    }

    /// Fills the room of one queue.
    fn fill(
        &mut self,
        room: &Room,
        slots: &mut usize,
        claim: &Claim,
        handlers: &Handlers<'_>,
        now: i64,
        claimed: &mut Claimed,
    ) {
        let begin = room.slots.min(*slots);
        let places = match claim.suspect {
            // A suspect is to be watched, not to be held ready.
            true => begin.min(1).min(1 - claimed.tasks.len()),
            false => begin.saturating_add(room.ahead),
        };
        let (mut taken, mut expired) = (Vec::new(), Vec::new());
        for id in self.index.lanes.due(&room.queue, handlers, claim.suspect, now) {
            let room_left =
                taken.len() < places && claimed.expired.len() + expired.len() < EXPIRED_AT_ONCE;
            if !room_left {
                break;
            }
            let is_expired = self.rows.get(&id).is_some_and(|row| row.expired(now));
            if is_expired { expired.push(id) } else { taken.push(id) }
        }
        for id in expired {
            claimed.expired.extend(self.rows.get(&id).map(Row::ended));
            self.end(id, now, TaskState::Cancelled, claim.keep_expired, |row| {
                row.rare.place().error = Some(rules::EXPIRED.to_owned());
            });
        }
        for (n, id) in taken.into_iter().enumerate() {
            let hold = Hold { node: claim.node, claim: claim.id, begun: n < begin };
            *slots -= usize::from(hold.begun);
            claimed.tasks.extend(self.update(id, now, |row| {
                row.hold(hold, now);
                row.claimed(now)
            }));
        }
    }
}
