//! Pending, due → running.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    bookmark::{self, Place},
    columns::Value,
    connection::{Connection, Sql, Step},
    error::Fault,
    lane::{self, LaneId},
    rings::Rings,
    row::{body, count, get, optional_count, state, task_id, timeout, unsigned},
    site::Site,
};
use crate::{
    bounds::BATCH_MAX,
    policy::Keep,
    storage::{
        Claim, Claimed, ClaimedTask, Ended,
        clock::{duration_micros, from_micros},
        handlers::Handlers,
        rules,
        server::{CROWDED, Filled, Gathered},
    },
    task::TaskState,
};

/// How many expired tasks one claim clears away before it answers.
const EXPIRED_AT_ONCE: usize = 1_000;

// What a claim got before, if its answer was lost.
pub(super) const GOT: Sql = Sql {
    text: "SELECT id, lease, lane, spent, codec, payload, retries, timeout, due_at, begun, unreadable, losses, lost_alone, state,
            tick, coalesce($3, (extract(epoch FROM clock_timestamp()) * 1000000)::int8)
        FROM tasks WHERE state = 1 AND node = $1 AND claim = $2 ORDER BY due_at, id",
    types: &[Type::UUID, Type::INT8, Type::INT8],
};

// Pending → running, or → cancelled for one that has expired; nothing if this claim got something before. The heads of the lanes
// are read without locks and put in order; then for each room one after the other is locked, passing over those that others have
// locked, until there are enough. What another transaction has changed since it was read is looked at again once it is locked.
// How many may begin in a room depends on how many did in those before it; what is locked and not taken is free again at once.
// $1 lanes, $2 their rooms, $3 their ranks, $4 how far to read each, $5 rooms, $6 what begins there at most, $7 how many more,
// $8 what begins at most in all of them, $9 now, $10 node, $11 claim, $12 how long expired ones are kept, $13 the reason,
// $14 the claim again, or nothing in a further round of it, where what came in the first does not count, $15 and $16 the due time
// and the id from which each lane is read.
pub(super) const TAKE: Sql = Sql {
    text: "WITH clock AS MATERIALIZED (
            SELECT coalesce($9, (extract(epoch FROM clock_timestamp()) * 1000000)::int8) AS now
        ), heads AS MATERIALIZED (
            SELECT h.place, l.lane, l.room, l.rank, h.due_at, h.id, coalesce(h.expires_at <= clock.now, false) AS expired
            FROM clock, unnest($1, $2, $3, $4, $15, $16) AS l (lane, room, rank, far, due_at, id) CROSS JOIN LATERAL (
                SELECT t.ctid AS place, t.id, t.due_at, t.expires_at FROM tasks AS t
                WHERE t.state = 0 AND t.lane = l.lane AND (t.due_at, t.id) >= (l.due_at, l.id)
                    AND t.due_at <= (SELECT now FROM clock)
                ORDER BY t.due_at, t.id LIMIT l.far) AS h
            WHERE NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.state = 1 AND t.node = $10 AND t.claim = $14)
            ORDER BY l.room, l.rank, h.due_at, h.id
        ), locked AS MATERIALIZED (
            SELECT h.*, r.slots, r.ahead FROM unnest($5, $6, $7) AS r (room, slots, ahead) CROSS JOIN LATERAL (
                SELECT h.* FROM heads AS h CROSS JOIN LATERAL (
                    SELECT 1 FROM tasks AS t WHERE t.ctid = h.place AND t.state = 0 AND t.lane = h.lane
                        AND t.due_at <= (SELECT now FROM clock) FOR UPDATE SKIP LOCKED) AS it
                WHERE h.room = r.room LIMIT r.slots + r.ahead) AS h
        ), turns AS MATERIALIZED (
            SELECT *, row_number() OVER (PARTITION BY room, expired ORDER BY rank, due_at, id) AS turn FROM locked
        ), rooms AS MATERIALIZED (
            SELECT room, ahead, least(slots, greatest(0, $8 - coalesce(sum(least(slots, found))
                OVER (ORDER BY room ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)::int8, 0))) AS begin
            FROM (SELECT room, slots, ahead, count(*) FILTER (WHERE NOT expired) AS found FROM turns
                GROUP BY room, slots, ahead) AS of_room
        )
        UPDATE tasks AS t SET
            state = CASE WHEN n.expired THEN 4 ELSE 1 END,
            lease = CASE WHEN n.expired THEN t.lease ELSE least(t.lease, 9223372036854775806) + 1 END,
            node = CASE WHEN NOT n.expired THEN $10 END, claim = CASE WHEN NOT n.expired THEN $11 END,
            begun = NOT n.expired AND n.turn <= r.begin,
            started_at = CASE WHEN NOT n.expired AND n.turn <= r.begin THEN clock.now ELSE t.started_at END,
            finished_at = CASE WHEN n.expired THEN clock.now END,
            prune_at = CASE WHEN n.expired THEN clock.now + $12 END,
            error = CASE WHEN n.expired THEN $13 ELSE t.error END
        FROM clock, turns AS n JOIN rooms AS r USING (room)
        WHERE t.ctid = n.place AND (n.expired OR n.turn <= r.begin + r.ahead)
        RETURNING t.id, t.lease, t.lane, t.spent, t.codec, t.payload, t.retries, t.timeout, t.due_at, t.begun,
            t.unreadable, t.losses, t.lost_alone, t.state, t.tick, clock.now, n.room, n.rank",
    types: &[
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8,
        Type::INT8,
        Type::UUID,
        Type::INT8,
        Type::INT8,
        Type::TEXT,
        Type::INT8,
        Type::INT8_ARRAY,
        Type::UUID_ARRAY,
    ],
};

// The heads of lanes, read from $4 and $5 on: when the first task of each is due and, where that is past and the lane holds
// suspects, when the first one becomes due that is not yet. A lane without a task is answered, too.
pub(super) const HEADS: Sql = Sql {
    text: "SELECT now, l.lane, h.due_at, CASE WHEN l.suspect AND h.due_at <= now THEN (
            SELECT t.due_at FROM tasks AS t WHERE t.state = 0 AND t.lane = l.lane AND t.due_at > now
            ORDER BY t.due_at LIMIT 1) END, h.id
        FROM (SELECT coalesce($3, (extract(epoch FROM clock_timestamp()) * 1000000)::int8) AS now) AS clock CROSS JOIN
            unnest($1, $2, $4, $5) AS l (lane, suspect, due_at, id) LEFT JOIN LATERAL (
            SELECT t.due_at, t.id FROM tasks AS t WHERE t.state = 0 AND t.lane = l.lane AND (t.due_at, t.id) >= (l.due_at, l.id)
            ORDER BY t.due_at, t.id LIMIT 1) AS h ON true",
    types: &[Type::INT8_ARRAY, Type::BOOL_ARRAY, Type::INT8, Type::INT8_ARRAY, Type::UUID_ARRAY],
};

// The lanes in which something waits, from one to the next by the index: those that hold nothing are not looked at.
pub(super) const FILLED: Sql = Sql {
    text: "WITH RECURSIVE filled (lane) AS (
            (SELECT lane FROM tasks WHERE state = 0 ORDER BY lane LIMIT 1)
            UNION ALL
            SELECT (SELECT t.lane FROM tasks AS t WHERE t.state = 0 AND t.lane > f.lane ORDER BY t.lane LIMIT 1)
            FROM filled AS f WHERE f.lane IS NOT NULL
        ) SELECT lane FROM filled WHERE lane IS NOT NULL",
    types: &[],
};

/// Gives out tasks. Each claim is a transaction of its own, so that one that takes long holds up no locks for the next.
#[derive(Debug)]
pub(super) struct Take;

impl Gathered<Site> for Take {
    type Request = Claim;
    type Answer = Claimed;

    const DOING: &'static str = "cannot claim tasks";

    fn rows(_request: &Claim) -> usize {
        // One at a time.
        usize::MAX / 2
    }

    async fn run(
        site: &Site,
        conn: &mut Connection,
        requests: &[&Claim],
    ) -> Result<Vec<Claimed>, Fault> {
        let mut answers = Vec::with_capacity(requests.len());
        for claim in requests {
            answers.push(claim_one(site, conn, claim).await?);
        }
        Ok(answers)
    }
}

async fn claim_one(site: &Site, conn: &Connection, claim: &Claim) -> Result<Claimed, Fault> {
    let handlers = Handlers::new(&claim.handlers);
    let mut wish = Wish::of(claim);
    let mut claimed = Claimed::default();
    loop {
        let mut lines = Lines::of(site, claim, &handlers, &wish, None);
        let filled = if lines.all.len() > CROWDED { Some(filled(site, conn).await?) } else { None };
        if filled.is_some() {
            lines = Lines::of(site, claim, &handlers, &wish, filled.as_ref());
        }
        let expired = claimed.expired.len();
        let new = ask(site, conn, claim, &lines, &mut wish, &mut claimed).await?;
        // Lanes that have just been heard of have not been looked at. And what has expired takes no place, so behind it there
        // may be more for the same place.
        let unseen =
            new && Lines::of(site, claim, &handlers, &wish, filled.as_ref()).all != lines.all;
        let behind = claimed.expired.len() > expired && claimed.expired.len() < EXPIRED_AT_ONCE;
        if !unseen && (!behind || wish.is_satisfied()) {
            break;
        }
        wish.again = true;
    }
    claimed.tasks.sort_by_key(|task| !task.begun);
    let mut rings = Rings::default();
    rings.ended.extend(claimed.expired.iter().map(|ended| ended.id));
    site.ring(rings);
    Ok(claimed)
}

/// Which lanes hold anything.
async fn filled(site: &Site, conn: &Connection) -> Result<Filled, Fault> {
    let last = site.lanes().last();
    let rows = conn.one((&FILLED, &[])).await?;
    let lanes: Vec<LaneId> = rows.iter().map(|row| get(row, 0)).collect::<Result<_, _>>()?;
    Ok(Filled::new(lanes, last))
}

/// What there is still room for.
struct Wish {
    room: Vec<i64>,
    slots: Vec<i64>,
    ahead: Vec<i64>,
    /// What may begin in all rooms together.
    all: i64,
    /// This claim has been asked already, and what it may have got before that is known.
    again: bool,
    /// It had got something before, and gets nothing else.
    repeated: bool,
}

impl Wish {
    fn of(claim: &Claim) -> Self {
        let number = |number: usize| i64::try_from(number.min(BATCH_MAX)).unwrap_or(i64::MAX);
        // A suspect is to be watched, not to be held ready, and there is one at most.
        let most = if claim.suspect { 1 } else { BATCH_MAX };
        let ahead = |ahead: usize| if claim.suspect { 0 } else { number(ahead) };
        Self {
            room: (0..).take(claim.queues.len()).collect(),
            slots: claim.queues.iter().map(|room| number(room.slots.min(most))).collect(),
            ahead: claim.queues.iter().map(|room| ahead(room.ahead)).collect(),
            all: number(claim.slots.min(most)),
            again: false,
            repeated: false,
        }
    }

    fn is_satisfied(&self) -> bool {
        let rooms = || self.slots.iter().zip(&self.ahead);
        rooms().all(|(slots, ahead)| *ahead == 0 && (*slots == 0 || self.all == 0))
    }

    /// A task was taken.
    fn took(&mut self, room: usize, begun: bool) {
        let place = if begun { &mut self.slots } else { &mut self.ahead };
        if let Some(place) = place.get_mut(room) {
            *place -= 1;
        }
        self.all -= i64::from(begun);
    }
}

/// The lanes that a claim looks at.
struct Lines {
    lane: Vec<LaneId>,
    room: Vec<i64>,
    rank: Vec<i64>,
    far: Vec<i64>,
    from: Places,
    /// Those whose heads are wanted: of suspects as well.
    all: Vec<LaneId>,
    suspect: Vec<bool>,
    all_from: Places,
    /// All of them are looked at from the start.
    whole: bool,
}

/// Where each lane is read from.
#[derive(Default)]
struct Places {
    due_at: Vec<i64>,
    id: Vec<Uuid>,
}

impl Places {
    fn push(&mut self, (due_at, id): Place) {
        self.due_at.push(due_at);
        self.id.push(id);
    }
}

impl Lines {
    /// Of those of which it is known, only such as hold something.
    fn of(
        site: &Site,
        claim: &Claim,
        handlers: &Handlers<'_>,
        wish: &Wish,
        filled: Option<&Filled>,
    ) -> Self {
        let may_hold = |id: &LaneId| filled.is_none_or(|filled| filled.may_hold(*id));
        let lanes = site.lanes();
        let (mut lane, mut room, mut rank, mut far) = (vec![], vec![], vec![], vec![]);
        let (mut all, mut suspect) = (vec![], vec![]);
        let (mut from, mut all_from) = (Places::default(), Places::default());
        let marks = site.bookmarks();
        let whole = marks.held_for().is_none();
        for (at, number) in (0..claim.queues.len()).zip(0..) {
            for suspects in [false, true] {
                let groups = lanes.served(&claim.queues[at].queue, handlers, suspects);
                for (group, of_rank) in groups.into_iter().zip(0..) {
                    for id in group.into_iter().filter(may_hold) {
                        let place = if whole { bookmark::START } else { marks.place(id) };
                        all.push(id);
                        suspect.push(suspects);
                        all_from.push(place);
                        if suspects == claim.suspect {
                            lane.push(id);
                            room.push(number);
                            rank.push(of_rank);
                            // Somewhat further than is needed: others may be taking the first ones at this moment.
                            far.push((wish.slots[at] + wish.ahead[at]) * 5 / 4 + 32);
                            from.push(place);
                        }
                    }
                }
            }
        }
        Self { lane, room, rank, far, from, all, suspect, all_from, whole }
    }
}

/// Takes what there is in these lanes, and says whether more is due; tells whether there are lanes that were not known.
async fn ask(
    site: &Site,
    conn: &Connection,
    claim: &Claim,
    lines: &Lines,
    wish: &mut Wish,
    claimed: &mut Claimed,
) -> Result<bool, Fault> {
    let (known, now, number) = (site.lanes().last(), site.injected(), claim.id.cast_signed());
    let kept = match claim.keep_expired {
        Keep::Forever => None,
        Keep::For(time) => Some(duration_micros(time)),
        Keep::No => Some(0),
    };
    // In a further round, what came in the first does not count as got before.
    let before = (wish.repeated || !wish.again).then_some(number);
    let take: [Value<'_>; 16] = [
        &lines.lane,
        &lines.room,
        &lines.rank,
        &lines.far,
        &wish.room,
        &wish.slots,
        &wish.ahead,
        &wish.all,
        &now,
        &claim.node,
        &number,
        &kept,
        &rules::EXPIRED,
        &before,
        &lines.from.due_at,
        &lines.from.id,
    ];
    let steps: [Step<'_>; 4] = [
        (&lane::NEW, &[&known]),
        (&GOT, &[&claim.node, &before, &now]),
        (&TAKE, &take),
        (&HEADS, &[&lines.all, &lines.suspect, &now, &lines.all_from.due_at, &lines.all_from.id]),
    ];
    let start = Instant::now();
    let answers = conn.together(&steps).await;
    // Whoever makes the time makes no dead rows.
    if lines.whole && now.is_none() {
        let took = answers.as_ref().map_or(0, |answers| answers.get(2).map_or(0, Vec::len));
        // One that was given up for its length is not repeated at once.
        site.bookmarks().looked_at_all(start.elapsed(), took);
    }
    let answers = answers?;
    let [new, got, took, heads] = answers.as_slice() else {
        return Err(Fault::Damaged("an answer is missing"));
    };
    site.lanes().learn(new)?;
    if !wish.repeated {
        for row in got {
            claimed.tasks.push(taken(site, row)?);
        }
        wish.repeated = !got.is_empty();
    }
    let mut tasks = Vec::with_capacity(took.len());
    let mut gone = Vec::new();
    for row in took {
        if state(row, 13)? == TaskState::Running {
            let (room, rank, due_at): (i64, i64, i64) =
                (get(row, 16)?, get(row, 17)?, get(row, 8)?);
            let task = taken(site, row)?;
            wish.took(usize::try_from(room).unwrap_or(usize::MAX), task.begun);
            tasks.push(((room, rank, due_at), task));
        } else {
            gone.push(*task_id(row, 0)?.as_uuid());
            claimed.expired.push(ended(site, row)?);
        }
    }
    if claim.keep_expired == Keep::No && !gone.is_empty() {
        super::outside::delete(conn, &gone).await?;
    }
    tasks.sort_by_key(|(place, task)| (*place, task.id));
    claimed.tasks.extend(tasks.into_iter().map(|(_, task)| task));
    look_on(site, lines, heads, claimed)?;
    Ok(!new.is_empty())
}

fn ended(site: &Site, row: &Row) -> Result<Ended, Fault> {
    let lane = site.lane(get(row, 2)?)?;
    let (name, queue) = (lane.name.clone(), lane.queue.clone());
    Ok(Ended { id: task_id(row, 0)?, name, queue, attempt: count(row, 3)? })
}

fn taken(site: &Site, row: &Row) -> Result<ClaimedTask, Fault> {
    let lane = site.lane(get(row, 2)?)?;
    let spent: u32 = count(row, 3)?;
    Ok(ClaimedTask {
        id: task_id(row, 0)?,
        lease: unsigned(row, 1)?,
        name: Arc::clone(&lane.name),
        version: lane.version,
        queue: Arc::clone(&lane.queue),
        priority: lane.priority,
        attempt: spent.saturating_add(1),
        payload: body(row, 4, 5)?,
        retries: optional_count(row, 6)?,
        timeout: timeout(row, 7)?,
        tick: get::<Option<i64>>(row, 14)?.map(from_micros),
        waited: rules::between(get(row, 8)?, get(row, 15)?),
        begun: get(row, 9)?,
        unreadable: count(row, 10)?,
        losses: count(row, 11)?,
        lost_alone: count(row, 12)?,
    })
}

/// Says whether more is due and when the next becomes so.
fn look_on(site: &Site, lines: &Lines, heads: &[Row], claimed: &mut Claimed) -> Result<(), Fault> {
    let mut marks = site.bookmarks();
    (claimed.more, claimed.suspect_due, claimed.next_due) = (false, false, None);
    let mut next: Option<Duration> = None;
    for row in heads {
        let (now, lane): (i64, LaneId) = (get(row, 0)?, get(row, 1)?);
        let head: Option<Place> = get::<Option<i64>>(row, 2)?.zip(get(row, 4)?);
        marks.saw(lane, head, now);
        let Some((due_at, _)) = head else { continue };
        let suspect = lines.all.iter().zip(&lines.suspect).any(|(all, is)| *all == lane && *is);
        let due = due_at <= now;
        match (due, suspect) {
            (true, true) => claimed.suspect_due = true,
            (true, false) => claimed.more = true,
            (false, _) => {}
        }
        // What becomes due in a lane where something is due matters for suspects only: others are then claimed first.
        let later = if due { get(row, 3)? } else { Some(due_at) };
        next = [next, later.map(|at| rules::between(now, at))].into_iter().flatten().min();
    }
    // What may be before the bookmarks is looked for as soon as that may be.
    let next = next.into_iter().chain(marks.held_for()).min();
    claimed.next_due = next.filter(|_| !claimed.more);
    Ok(())
}
