//! Pending, due → running.

use std::sync::Arc;

use tokio_postgres::{Row, types::Type};

use super::{
    actor::Gathered,
    connection::{Connection, Sql, Step},
    error::Fault,
    lane::{self, Handlers, LaneId},
    rings::Rings,
    row::{body, get, maybe_number, number, state, task_id, timeout, unsigned},
    site::{NOW, Site, now},
};
use crate::{
    bounds::BATCH_MAX,
    policy::Keep,
    storage::{Claim, Claimed, ClaimedTask, Ended, rules},
    task::TaskState,
};

/// How many expired tasks one claim clears away before it answers.
const EXPIRED_AT_ONCE: usize = 1_000;

// What a claim got before, if its answer was lost.
pub(super) const GOT: Sql = Sql {
    text: "SELECT id, lease, lane, spent, codec, payload, retries, timeout, due_at, begun, unreadable, losses, lost_alone, state
        FROM tasks WHERE state = 1 AND node = $1 AND claim = $2 ORDER BY due_at, id",
    types: &[Type::UUID, Type::INT8],
};

// The heads of lanes: when the first task of each is due and, where that is past and the lane holds suspects, when the first one
// becomes due that is not yet.
pub(super) const HEADS: Sql = Sql {
    text: "SELECT l.lane, h.due_at, CASE WHEN l.suspect AND h.due_at <= $3 THEN (
            SELECT t.due_at FROM tasks AS t WHERE t.state = 0 AND t.lane = l.lane AND t.due_at > $3
            ORDER BY t.due_at LIMIT 1) END
        FROM unnest($1, $2) AS l (lane, suspect) CROSS JOIN LATERAL (
            SELECT t.due_at FROM tasks AS t WHERE t.state = 0 AND t.lane = l.lane ORDER BY t.due_at LIMIT 1) AS h",
    types: &[Type::INT8_ARRAY, Type::BOOL_ARRAY, Type::INT8],
};

// Pending → running, or → cancelled for one that has expired. The heads of the lanes are read without locks and put in order;
// then one after the other is locked, passing over those that others have locked, until there are enough. What another
// transaction has changed since it was read is looked at again once it is locked. $1 lanes, $2 their places in the order,
// $3 now, $4 how far to read each, $5 how many to take, $6 how many begin, $7 node, $8 claim, $9 when expired ones are pruned.
pub(super) const TAKE: Sql = Sql {
    text: "WITH heads AS MATERIALIZED (
            SELECT h.place, l.lane, l.rank, h.due_at, h.id, coalesce(h.expires_at <= $3, false) AS expired
            FROM unnest($1, $2) AS l (lane, rank) CROSS JOIN LATERAL (
                SELECT t.ctid AS place, t.id, t.due_at, t.expires_at FROM tasks AS t
                WHERE t.state = 0 AND t.lane = l.lane AND t.due_at <= $3 ORDER BY t.due_at, t.id LIMIT $4) AS h
            ORDER BY l.rank, h.due_at, h.id
        ), taken AS MATERIALIZED (
            SELECT h.* FROM heads AS h CROSS JOIN LATERAL (
                SELECT 1 FROM tasks AS t
                WHERE t.ctid = h.place AND t.state = 0 AND t.lane = h.lane AND t.due_at <= $3 FOR UPDATE SKIP LOCKED) AS locked
            LIMIT $5
        ), turns AS MATERIALIZED (
            SELECT *, row_number() OVER (PARTITION BY expired ORDER BY rank, due_at, id) <= $6 AS begins FROM taken
        )
        UPDATE tasks AS t SET
            state = CASE WHEN n.expired THEN 4 ELSE 1 END,
            lease = t.lease + CASE WHEN n.expired THEN 0 ELSE 1 END,
            node = CASE WHEN NOT n.expired THEN $7 END, claim = CASE WHEN NOT n.expired THEN $8 END,
            begun = NOT n.expired AND n.begins,
            started_at = CASE WHEN NOT n.expired AND n.begins THEN $3 ELSE t.started_at END,
            finished_at = CASE WHEN n.expired THEN $3 END,
            prune_at = CASE WHEN n.expired THEN $9 END,
            error = CASE WHEN n.expired THEN $10 ELSE t.error END
        FROM turns AS n WHERE t.ctid = n.place
        RETURNING t.id, t.lease, t.lane, t.spent, t.codec, t.payload, t.retries, t.timeout, t.due_at, t.begun,
            t.unreadable, t.losses, t.lost_alone, t.state, n.rank",
    types: &[
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8,
        Type::INT8,
        Type::INT8,
        Type::INT8,
        Type::UUID,
        Type::INT8,
        Type::INT8,
        Type::TEXT,
    ],
};

/// Gives out tasks. Each claim is a transaction of its own, so that one that takes long holds up no locks for the next.
#[derive(Debug)]
pub(super) struct Take;

impl Gathered for Take {
    type Request = Claim;
    type Answer = Claimed;

    const DOING: &'static str = "cannot claim tasks";

    fn rows(_request: &Claim) -> usize {
        // One at a time.
        usize::MAX / 2
    }

    async fn run(
        site: &Site,
        conn: &Connection,
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
    let known = site.lanes().last();
    let number = claim.id.cast_signed();
    let first: [Step<'_>; 3] =
        [(&NOW, &[&site.injected()]), (&lane::NEW, &[&known]), (&GOT, &[&claim.node, &number])];
    let answers = conn.together(&first).await?;
    let [time, new, got] = answers.as_slice() else {
        return Err(Fault::Damaged("an answer is missing"));
    };
    let now = now(time)?;
    site.lanes().learn(new)?;
    let lanes = lanes_of(site, claim, &handlers);
    let mut claimed = Claimed::default();
    for row in got {
        claimed.tasks.push(taken(site, row, now)?);
    }
    if claimed.tasks.is_empty() {
        let heads = heads(conn, &lanes, now).await?;
        fill(site, conn, claim, &handlers, &heads, now, &mut claimed).await?;
        look_on(conn, &lanes, now, Some(heads), &mut claimed).await?;
    } else {
        look_on(conn, &lanes, now, None, &mut claimed).await?;
    }
    claimed.tasks.sort_by_key(|task| !task.begun);
    let mut rings = Rings::default();
    rings.ended.extend(claimed.expired.iter().map(|ended| ended.id));
    site.ring(rings);
    Ok(claimed)
}

/// All lanes that a claim may look at, and which of them hold suspects.
fn lanes_of(site: &Site, claim: &Claim, handlers: &Handlers<'_>) -> (Vec<LaneId>, Vec<bool>) {
    let lanes = site.lanes();
    let mut all = (Vec::new(), Vec::new());
    for room in &claim.queues {
        for suspect in [false, true] {
            for lane in lanes.served(&room.queue, handlers, suspect).into_iter().flatten() {
                all.0.push(lane);
                all.1.push(suspect);
            }
        }
    }
    all
}

/// The head of a lane in which something is pending.
struct Head {
    lane: LaneId,
    due_at: i64,
    later: Option<i64>,
}

async fn heads(
    conn: &Connection,
    lanes: &(Vec<LaneId>, Vec<bool>),
    now: i64,
) -> Result<Vec<Head>, Fault> {
    if lanes.0.is_empty() {
        return Ok(Vec::new());
    }
    let rows = conn.one((&HEADS, &[&lanes.0, &lanes.1, &now])).await?;
    let head =
        |row: &Row| Ok(Head { lane: get(row, 0)?, due_at: get(row, 1)?, later: get(row, 2)? });
    rows.iter().map(head).collect()
}

/// Fills the rooms one after the other, from the lanes in which something is due.
async fn fill(
    site: &Site,
    conn: &Connection,
    claim: &Claim,
    handlers: &Handlers<'_>,
    heads: &[Head],
    now: i64,
    claimed: &mut Claimed,
) -> Result<(), Fault> {
    let mut slots = claim.slots;
    for room in &claim.queues {
        let groups = site.lanes().served(&room.queue, handlers, claim.suspect);
        let due = |lane: &LaneId| heads.iter().any(|head| head.lane == *lane && head.due_at <= now);
        let mut lanes: (Vec<LaneId>, Vec<i64>) = (Vec::new(), Vec::new());
        for (group, rank) in groups.into_iter().zip(0..) {
            for lane in group.into_iter().filter(due) {
                lanes.0.push(lane);
                lanes.1.push(rank);
            }
        }
        let mut begin = room.slots.min(slots);
        // A suspect is to be watched, not to be held ready.
        let suspects = begin.min(1).saturating_sub(claimed.tasks.len());
        let places = if claim.suspect { suspects } else { begin.saturating_add(room.ahead) };
        let mut places = places.min(BATCH_MAX.saturating_sub(claimed.tasks.len()));
        // What has expired takes no place, so behind it there may be more for the same place.
        while places > 0 && !lanes.0.is_empty() && claimed.expired.len() < EXPIRED_AT_ONCE {
            let expired = claimed.expired.len();
            let got = take(site, conn, claim, &lanes, (places, begin), now, claimed).await?;
            let began = got.min(begin);
            (places, begin, slots) = (places - got, begin - began, slots - began);
            if claimed.expired.len() == expired {
                break;
            }
        }
    }
    Ok(())
}

/// Takes so many from these lanes, of which so many begin; tells how many came.
async fn take(
    site: &Site,
    conn: &Connection,
    claim: &Claim,
    lanes: &(Vec<LaneId>, Vec<i64>),
    (places, begin): (usize, usize),
    now: i64,
    claimed: &mut Claimed,
) -> Result<usize, Fault> {
    let number = claim.id.cast_signed();
    // Read somewhat further than is needed: others may be taking the first ones at this moment.
    let read = i64::try_from(places * 2 + 32).unwrap_or(i64::MAX);
    let (limit, begins) = (i64::try_from(places), i64::try_from(begin));
    let (limit, begins) = (limit.unwrap_or(i64::MAX), begins.unwrap_or(i64::MAX));
    let prune_at = rules::prune_at(claim.keep_expired, now);
    let rows = conn
        .one((
            &TAKE,
            &[
                &lanes.0,
                &lanes.1,
                &now,
                &read,
                &limit,
                &begins,
                &claim.node,
                &number,
                &prune_at,
                &rules::EXPIRED,
            ],
        ))
        .await?;
    let mut tasks = Vec::with_capacity(rows.len());
    let mut gone = Vec::new();
    for row in &rows {
        if state(row, 13)? == TaskState::Running {
            let place: (i64, i64) = (get(row, 14)?, get(row, 8)?);
            tasks.push((place, taken(site, row, now)?));
        } else {
            gone.push(*task_id(row, 0)?.as_uuid());
            claimed.expired.push(ended(site, row)?);
        }
    }
    if claim.keep_expired == Keep::No && !gone.is_empty() {
        super::outside::delete(conn, &gone).await?;
    }
    tasks.sort_by_key(|(place, task)| (*place, task.id));
    let got = tasks.len();
    claimed.tasks.extend(tasks.into_iter().map(|(_, task)| task));
    Ok(got)
}

fn ended(site: &Site, row: &Row) -> Result<Ended, Fault> {
    let lane = site.lane(get(row, 2)?)?;
    let (name, queue) = (lane.name.clone(), lane.queue.clone());
    Ok(Ended { id: task_id(row, 0)?, name, queue, attempt: number(row, 3)? })
}

fn taken(site: &Site, row: &Row, now: i64) -> Result<ClaimedTask, Fault> {
    let lane = site.lane(get(row, 2)?)?;
    let spent: u32 = number(row, 3)?;
    Ok(ClaimedTask {
        id: task_id(row, 0)?,
        lease: unsigned(row, 1)?,
        name: Arc::clone(&lane.name),
        version: lane.version,
        queue: Arc::clone(&lane.queue),
        priority: lane.priority,
        attempt: spent.saturating_add(1),
        payload: body(row, 4, 5)?,
        retries: maybe_number(row, 6)?,
        timeout: timeout(row, 7)?,
        waited: rules::between(get(row, 8)?, now),
        begun: get(row, 9)?,
        unreadable: number(row, 10)?,
        losses: number(row, 11)?,
        lost_alone: number(row, 12)?,
    })
}

/// Says whether more is due and when the next becomes so.
async fn look_on(
    conn: &Connection,
    lanes: &(Vec<LaneId>, Vec<bool>),
    now: i64,
    seen: Option<Vec<Head>>,
    claimed: &mut Claimed,
) -> Result<(), Fault> {
    let nothing_came = claimed.tasks.is_empty() && claimed.expired.is_empty();
    let heads = match seen {
        // Nothing has changed since, unless others took it all.
        Some(seen) if nothing_came && seen.iter().all(|head| head.due_at > now) => seen,
        _ => heads(conn, lanes, now).await?,
    };
    let mut next: Option<i64> = None;
    for head in &heads {
        let suspect = lanes.0.iter().zip(&lanes.1).any(|(lane, is)| *lane == head.lane && *is);
        let due = head.due_at <= now;
        match (due, suspect) {
            (true, true) => claimed.suspect_due = true,
            (true, false) => claimed.more = true,
            (false, _) => {}
        }
        // What becomes due in a lane where something is due matters for suspects only: others are then claimed first.
        let later = if due { head.later } else { Some(head.due_at) };
        next = [next, later].into_iter().flatten().min();
    }
    if let (false, Some(at)) = (claimed.more, next) {
        claimed.next_due = Some(rules::between(now, at));
    }
    Ok(())
}
