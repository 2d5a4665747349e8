//! Pending, due → running.

use std::{collections::VecDeque, sync::Arc};

use rusqlite::{Row, params};

use super::{
    hot::Hot,
    lane::{Lane, LaneId, Next},
    row::{body, count, optional_count, task_id, timeout, unsigned},
    transaction::{Place, Transaction},
};
use crate::{
    bounds::BATCH_MAX,
    storage::{
        Claim, Claimed, ClaimedTask, Room, clock::from_micros, handlers::Handlers,
        numbers::next_lease, rules,
    },
    task::TaskId,
};

/// How many expired tasks one claim clears away before it answers.
const EXPIRED_AT_ONCE: usize = 1_000;
/// Most rows that are read from a line at once.
const READ_AT_ONCE: usize = 64;

// The first tasks of one line, due or not. Those that were taken stand in it no more.
pub(super) const LINE: &str =
    "SELECT seq, id, due_at, expires_at, lease, spent, unreadable, losses, lost_alone
     FROM evertask_tasks INDEXED BY evertask_pending
     WHERE state = 0 AND lane = ?1 ORDER BY due_at, id LIMIT ?2";

// Pending → running. The row was read in the same write transaction, so nobody else can have taken it.
pub(super) const TAKE: &str = "UPDATE evertask_tasks
     SET state = 1, lease = min(lease, 9223372036854775806) + 1, node = ?2, claim = ?3, begun = ?4, started_at = coalesce(?5, started_at) WHERE seq = ?1";

pub(super) const PAYLOAD: &str =
    "SELECT codec, bytes, retries, timeout, tick FROM evertask_payloads WHERE seq = ?1";

// What a claim got before, if its answer was lost; with the lease as it was before, as in the lines.
pub(super) const GOT: &str =
    "SELECT seq, id, due_at, expires_at, lease - 1, spent, unreadable, losses, lost_alone, lane, begun
     FROM evertask_tasks INDEXED BY evertask_running WHERE state = 1 AND node = ?1 AND claim = ?2 ORDER BY id";

pub(super) fn claim(tx: &mut Transaction<'_>, claim: &Claim) -> rusqlite::Result<Claimed> {
    let handlers = Handlers::new(&claim.handlers);
    let mut claimed = Claimed { tasks: got_before(tx, claim)?, ..Claimed::default() };
    if claimed.tasks.is_empty() {
        let mut slots = claim.slots;
        for room in &claim.queues {
            fill(tx, claim, &handlers, room, &mut slots, &mut claimed)?;
        }
    }
    claimed.tasks.sort_by_key(|task| !task.begun);

    let (next, becomes_due) = next_of(tx, claim, &handlers, false)?;
    let (next_suspect, suspect_becomes_due) = next_of(tx, claim, &handlers, true)?;
    claimed.more = next <= Next::At(tx.now);
    claimed.suspect_due = next_suspect <= Next::At(tx.now);
    let becomes_due = becomes_due.min(suspect_becomes_due);
    if let (false, Next::At(at)) = (claimed.more, becomes_due) {
        claimed.next_due = Some(rules::between(tx.now, at));
    }
    Ok(claimed)
}

/// When the first task is or was due that this claim might get, and when the first one becomes due that is not yet.
fn next_of(
    tx: &mut Transaction<'_>,
    claim: &Claim,
    handlers: &Handlers<'_>,
    suspect: bool,
) -> rusqlite::Result<(Next, Next)> {
    let now = Next::At(tx.now);
    let (mut first, mut later) = (Next::Never, Next::Never);
    for room in &claim.queues {
        for lane in tx.lanes.served(&room.queue, handlers, suspect).into_iter().flatten() {
            let next = tx.lanes.next(tx.conn, lane)?;
            first = first.min(next);
            // What becomes due in a lane where something is due matters for suspects only: others are then claimed first.
            later = later.min(match next <= now {
                true if suspect => tx.lanes.later(tx.conn, lane, tx.now)?,
                true => Next::Never,
                false => next,
            });
        }
    }
    Ok((first, later))
}

fn got_before(tx: &Transaction<'_>, claim: &Claim) -> rusqlite::Result<Vec<ClaimedTask>> {
    let mut select = tx.prepare(GOT)?;
    let mut rows = select.query(params![claim.node.as_bytes(), claim.id.cast_signed()])?;
    let mut tasks = Vec::new();
    while let Some(row) = rows.next()? {
        let waiting = Waiting::read(row, row.get(9)?)?;
        tasks.extend(waiting.taken(tx, row.get(10)?)?);
    }
    Ok(tasks)
}

/// Fills the room of one queue, from its lines of the highest priority first.
fn fill(
    tx: &mut Transaction<'_>,
    claim: &Claim,
    handlers: &Handlers<'_>,
    room: &Room,
    slots: &mut usize,
    claimed: &mut Claimed,
) -> rusqlite::Result<()> {
    let begin = room.slots.min(*slots);
    // A suspect is to be watched, not to be held ready.
    let suspects = begin.min(1).saturating_sub(claimed.tasks.len());
    let places = if claim.suspect { suspects } else { begin.saturating_add(room.ahead) };
    let places = places.min(BATCH_MAX.saturating_sub(claimed.tasks.len()));
    let mut taken = 0;
    for lanes in tx.lanes.served(&room.queue, handlers, claim.suspect) {
        let mut lines = Vec::new();
        for lane in lanes {
            if taken < places && tx.lanes.next(tx.conn, lane)? <= Next::At(tx.now) {
                lines.push(Line::new(lane, places - taken));
            }
        }
        while taken < places && claimed.expired.len() < EXPIRED_AT_ONCE {
            let Some(waiting) = pop_first(tx, &mut lines)? else { break };
            if waiting.expires_at.is_some_and(|at| at <= tx.now) {
                claimed.expired.push(tx.ended(waiting.place, waiting.spent));
                tx.cancel_pending(waiting.place, rules::EXPIRED, claim.keep_expired)?;
                continue;
            }
            let begun = taken < begin;
            let started_at = begun.then_some(tx.now);
            let node = claim.node.as_bytes();
            let claim_id = claim.id.cast_signed();
            let place = waiting.place;
            tx.hot(Hot::Take)?.execute(params![place.seq, node, claim_id, begun, started_at])?;
            tx.rows.note(place.id, place.seq);
            claimed.tasks.extend(waiting.taken(tx, begun)?);
            taken += 1;
            *slots -= usize::from(begun);
        }
        for mut line in lines {
            // Now it is known who is next in it, if the rows read last reach that far.
            let next = line.first(tx)?.map_or(Next::Never, |waiting| Next::At(waiting.due_at));
            tx.lanes.set_next(line.lane, next);
        }
    }
    Ok(())
}

/// Takes the first of all that stand in these lines, if it is due.
fn pop_first(tx: &Transaction<'_>, lines: &mut [Line]) -> rusqlite::Result<Option<Waiting>> {
    let mut first: Option<((i64, TaskId), &mut Line)> = None;
    for line in lines {
        let Some(waiting) = line.first(tx)? else { continue };
        let place = (waiting.due_at, waiting.place.id);
        if waiting.due_at <= tx.now && first.as_ref().is_none_or(|(least, _)| place < *least) {
            first = Some((place, line));
        }
    }
    Ok(first.and_then(|(_, line)| line.read.pop_front()))
}

/// The tasks of one lane in their order, read as far as they are looked at.
struct Line {
    lane: LaneId,
    read: VecDeque<Waiting>,
    limit: usize,
    /// Nothing stands behind what was read.
    end: bool,
}

impl Line {
    /// A line from which so many may be taken.
    fn new(lane: LaneId, wanted: usize) -> Self {
        // One more, to know who is next.
        let limit = wanted.saturating_add(1).min(READ_AT_ONCE);
        Self { lane, read: VecDeque::new(), limit, end: false }
    }

    /// Who is first in it. All that were first before have been taken out of the lane meanwhile.
    fn first(&mut self, tx: &Transaction<'_>) -> rusqlite::Result<Option<&Waiting>> {
        if self.read.is_empty() && !self.end {
            let limit = i64::try_from(self.limit).unwrap_or(i64::MAX);
            let mut select = tx.prepare(LINE)?;
            let mut rows = select.query([self.lane, limit])?;
            while let Some(row) = rows.next()? {
                self.read.push_back(Waiting::read(row, self.lane)?);
            }
            self.end = self.read.len() < self.limit;
        }
        Ok(self.read.front())
    }
}

/// A pending task at its place in the line.
struct Waiting {
    place: Place,
    due_at: i64,
    expires_at: Option<i64>,
    lease: u64,
    spent: u32,
    unreadable: u32,
    losses: u32,
    lost_alone: u32,
}

impl Waiting {
    fn read(row: &Row<'_>, lane: LaneId) -> rusqlite::Result<Self> {
        Ok(Self {
            place: Place { seq: row.get(0)?, id: task_id(row, 1)?, lane },
            due_at: row.get(2)?,
            expires_at: row.get(3)?,
            lease: unsigned(row, 4)?,
            spent: count(row, 5)?,
            unreadable: count(row, 6)?,
            losses: count(row, 7)?,
            lost_alone: count(row, 8)?,
        })
    }

    /// The task in the hands of the node that took it.
    fn taken(&self, tx: &Transaction<'_>, begun: bool) -> rusqlite::Result<Option<ClaimedTask>> {
        let Some(lane) = tx.lanes.get(self.place.lane) else { return Ok(None) };
        let Lane { queue, name, version, priority, .. } = &**lane;
        let task = tx.hot(Hot::Payload)?.query_row([self.place.seq], |row| {
            Ok(ClaimedTask {
                id: self.place.id,
                lease: next_lease(self.lease),
                name: Arc::clone(name),
                version: *version,
                queue: Arc::clone(queue),
                priority: *priority,
                attempt: self.spent.saturating_add(1),
                payload: body(row, 0)?,
                retries: optional_count(row, 2)?,
                timeout: timeout(row, 3)?,
                tick: row.get::<_, Option<i64>>(4)?.map(from_micros),
                waited: rules::between(self.due_at, tx.now),
                begun,
                unreadable: self.unreadable,
                losses: self.losses,
                lost_alone: self.lost_alone,
            })
        })?;
        Ok(Some(task))
    }
}
