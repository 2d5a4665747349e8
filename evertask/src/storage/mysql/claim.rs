//! Pending, due → running.

use std::{collections::HashSet, sync::Arc};

use mysql_async::Row;

use super::{
    connection::Connection,
    error::Fault,
    lane::{self, LaneId},
    literal::{List, Literal},
    outside,
    rings::Rings,
    row::{body, count, maybe_number, number, optional_count, task_id, timeout, truth, unsigned},
    script::{Answers, Script},
    site::{NOW, Site, now},
};
use crate::{
    bounds::BATCH_MAX,
    policy::Keep,
    storage::{
        Claim, Claimed, ClaimedTask, Ended,
        clock::from_micros,
        handlers::Handlers,
        numbers::next_lease,
        rules,
        server::{CROWDED, Filled, Gathered},
    },
    task::TaskId,
};

/// How many expired tasks one claim clears away before it answers.
const EXPIRED_AT_ONCE: usize = 1_000;

macro_rules! columns {
    () => {
        "t.id, t.lease, t.lane, t.spent, t.codec, t.payload, t.retries, t.timeout, t.tick, t.due_at, t.unreadable, t.losses,
        t.lost_alone, t.begun, t.lapses_at"
    };
}

// What a claim got before, if its answer was lost.
pub(super) const GOT: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM {tasks} AS t FORCE INDEX (running) WHERE t.node = ? AND t.claim = ? ORDER BY t.due_at, t.id"
);

// The lanes in which something waits, from one to the next by the index: those that hold nothing are not looked at.
pub(super) const FILLED: &str =
    "SELECT line FROM {tasks} FORCE INDEX (pending) WHERE line IS NOT NULL GROUP BY line";

// The head of a lane, for one claim: read without locks.
pub(super) const HEAD: &str =
    "(SELECT ? AS turn, line, due_at, id FROM {tasks} FORCE INDEX (pending)
    WHERE line = ? AND due_at <= @evertask_now ORDER BY due_at, id LIMIT ?)";

// The heads of the lanes of one room are put in order; then one after the other is locked, passing over those that others have
// locked, until there are enough. What another transaction has changed since it was read is looked at again once it is locked.
pub(super) const LOCK: (&str, &str) = (
    concat!("SELECT STRAIGHT_JOIN ", columns!(), " FROM ("),
    " ORDER BY turn, due_at, id LIMIT 1000000000) AS h JOIN {tasks} AS t FORCE INDEX (PRIMARY) ON t.id = h.id
    WHERE t.line = h.line AND t.due_at <= @evertask_now LIMIT ? FOR UPDATE SKIP LOCKED",
);

// Pending → running. The rows are locked and have been looked at.
pub(super) const TAKE: &str = "UPDATE {tasks} FORCE INDEX (PRIMARY) SET state = 1, line = NULL, lapses_at = NULL, lease = LEAST(lease, 9223372036854775806) + 1,
    node = ?, claim = ?, begun = ?, started_at = IF(?, @evertask_now, started_at) WHERE id IN ?";

// The heads of lanes: when the first task of each is due and, where the lane holds suspects, when the first one becomes due that
// is not yet.
pub(super) const FIRST: &str =
    "(SELECT due_at FROM {tasks} FORCE INDEX (pending) WHERE line = ? ORDER BY due_at LIMIT 1)";
pub(super) const LATER: &str =
    "(SELECT due_at FROM {tasks} FORCE INDEX (pending) WHERE line = ? AND due_at > ?
    ORDER BY due_at LIMIT 1)";

/// Of how many lanes the heads are read in one statement.
const LANES: usize = 200;

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

async fn claim_one(site: &Site, conn: &mut Connection, claim: &Claim) -> Result<Claimed, Fault> {
    let handlers = Handlers::new(&claim.handlers);
    let mut wish = Wish::of(claim);
    let mut claimed = Claimed::default();
    loop {
        let mut lines = Lines::of(site, claim, &handlers, None);
        site.watch.lanes(lines.all.iter().map(|(lane, _)| *lane));
        let filled = if lines.all.len() > CROWDED { Some(filled(site, conn).await?) } else { None };
        if filled.is_some() {
            lines = Lines::of(site, claim, &handlers, filled.as_ref());
        }
        let expired = claimed.expired.len();
        let new = ask(site, conn, claim, &lines, &mut wish, &mut claimed).await?;
        // Lanes that have just been heard of have not been looked at. And what has expired takes no place, so behind it there
        // may be more for the same place.
        let unseen = new && Lines::of(site, claim, &handlers, filled.as_ref()).all != lines.all;
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
    site.ear.claimed(claim.node, claimed.more);
    Ok(claimed)
}

/// Which lanes hold anything.
async fn filled(site: &Site, conn: &mut Connection) -> Result<Filled, Fault> {
    let last = site.lanes().last();
    let mut script = site.script();
    let lanes = script.add(FILLED, &[]);
    let answers = conn.run(script).await?;
    let lanes = answers.rows(lanes)?.iter().map(|row| number(row, 0));
    Ok(Filled::new(lanes.collect::<Result<Vec<LaneId>, _>>()?, last))
}

/// What there is still room for.
struct Wish {
    rooms: Vec<Place>,
    /// What may begin in all rooms together.
    all: usize,
    /// This claim has been asked already, and what it may have got before that is known.
    again: bool,
    /// It had got something before, and gets nothing else.
    repeated: bool,
}

struct Place {
    slots: usize,
    ahead: usize,
}

impl Wish {
    fn of(claim: &Claim) -> Self {
        // A suspect is to be watched, not to be held ready, and there is one at most.
        let most = if claim.suspect { 1 } else { BATCH_MAX };
        let ahead = if claim.suspect { 0 } else { BATCH_MAX };
        let rooms = claim.queues.iter();
        let place = |slots: usize, held: usize| Place { slots, ahead: held.min(ahead) };
        Self {
            rooms: rooms.map(|room| place(room.slots.min(most), room.ahead)).collect(),
            all: claim.slots.min(most),
            again: false,
            repeated: false,
        }
    }

    fn is_satisfied(&self) -> bool {
        let full = |room: &Place| room.ahead == 0 && (room.slots == 0 || self.all == 0);
        self.rooms.iter().all(full)
    }
}

/// The lanes that a claim looks at.
struct Lines {
    /// For each room, those it takes from, each with its turn among them.
    rooms: Vec<Vec<(i64, LaneId)>>,
    /// Those whose heads are wanted, of suspects as well, and whether they are.
    all: Vec<(LaneId, bool)>,
}

impl Lines {
    /// Of those of which it is known, only such as hold something.
    fn of(site: &Site, claim: &Claim, handlers: &Handlers<'_>, filled: Option<&Filled>) -> Self {
        let may_hold = |id: &LaneId| filled.is_none_or(|filled| filled.may_hold(*id));
        let lanes = site.lanes();
        let (mut rooms, mut all) = (Vec::new(), Vec::new());
        for room in &claim.queues {
            let mut from = Vec::new();
            for suspects in [false, true] {
                let groups = lanes.served(&room.queue, handlers, suspects);
                for (mut group, turn) in groups.into_iter().zip(0..) {
                    group.retain(may_hold);
                    all.extend(group.iter().map(|id| (*id, suspects)));
                    if suspects == claim.suspect {
                        from.extend(group.into_iter().map(|id| (turn, id)));
                    }
                }
            }
            rooms.push(from);
        }
        Self { rooms, all }
    }
}

/// Takes what there is in these lanes, and says whether more is due; tells whether there are lanes that were not known.
async fn ask(
    site: &Site,
    conn: &mut Connection,
    claim: &Claim,
    lines: &Lines,
    wish: &mut Wish,
    claimed: &mut Claimed,
) -> Result<bool, Fault> {
    let mut script = site.transaction();
    let time = script.add(NOW, &[]);
    let new = script.add(lane::NEW, &[&site.lanes().last()]);
    let got = script.add(GOT, &[&claim.node, &claim.id]);
    let rooms = lock(site, &mut script, lines, wish, claimed.expired.is_empty());
    let answers = conn.run(script).await?;
    let now = now(answers.row(time)?)?;
    site.lanes().learn(answers.rows(new)?)?;
    let before = answers.rows(got)?;
    if !wish.again && !before.is_empty() {
        for row in before {
            claimed.tasks.push(taken(site, row, now)?);
        }
        wish.repeated = true;
    }
    let chosen = match wish.repeated {
        true => Chosen::default(),
        false => choose(site, &answers, &rooms, wish, now)?,
    };
    let mut script = site.script();
    let node: &dyn Literal = &claim.node;
    for (ids, begun) in [(&chosen.begin, true), (&chosen.ahead, false)] {
        if !ids.is_empty() {
            script.add(TAKE, &[node, &claim.id, &begun, &begun, &List(ids)]);
        }
    }
    if !chosen.expired.is_empty() {
        let gone: Vec<TaskId> = chosen.expired.iter().map(|ended| ended.id).collect();
        match claim.keep_expired {
            Keep::No => outside::delete(&mut script, &gone),
            keep => outside::expire(&mut script, &gone, rules::prune_at(keep, now)),
        }
    }
    let heads = ask_heads(site, &mut script, lines, now);
    script.add("COMMIT", &[]);
    let told = conn.run(script).await?;
    claimed.tasks.extend(chosen.tasks);
    claimed.expired.extend(chosen.expired);
    look_on(lines, &told, &heads, now, claimed)?;
    Ok(!answers.rows(new)?.is_empty())
}

/// Asks for what each room has place for; gives the places of the answers.
fn lock(
    site: &Site,
    script: &mut Script,
    lines: &Lines,
    wish: &Wish,
    fresh: bool,
) -> Vec<Option<usize>> {
    let prefix = &site.settings.prefix;
    let ask = |(lanes, place): (&Vec<(i64, LaneId)>, &Place)| {
        let want = place.slots.min(wish.all) + place.ahead;
        if lanes.is_empty() || want == 0 || wish.repeated {
            return None;
        }
        // Where some have expired there are likely to be more.
        let want = if fresh { want } else { want + EXPIRED_AT_ONCE / 4 };
        // Somewhat further than is needed: others may be taking the first ones at this moment.
        let far = want * 2 + 32;
        let heads = lanes.iter().map(|(turn, lane)| prefix.fill(HEAD, &[turn, lane, &far]));
        let heads = heads.collect::<Vec<_>>().join(&b"\nUNION ALL "[..]);
        let mut text = prefix.fill(LOCK.0, &[]);
        text.extend(heads);
        text.extend(prefix.fill(LOCK.1, &[&want]));
        script.statements.push(text);
        Some(script.statements.len() - 1)
    };
    lines.rooms.iter().zip(&wish.rooms).map(ask).collect()
}

/// What is to become of the tasks that are locked.
#[derive(Default)]
struct Chosen {
    begin: Vec<TaskId>,
    ahead: Vec<TaskId>,
    tasks: Vec<ClaimedTask>,
    expired: Vec<Ended>,
}

/// Gives places to locked tasks, room by room. What is locked and gets none is free again at once.
fn choose(
    site: &Site,
    answers: &Answers,
    rooms: &[Option<usize>],
    wish: &mut Wish,
    now: i64,
) -> Result<Chosen, Fault> {
    let mut chosen = Chosen::default();
    let mut seen = HashSet::new();
    for (place, room) in rooms.iter().zip(&mut wish.rooms) {
        let Some(place) = place else { continue };
        for row in answers.rows(*place)? {
            let id = task_id(row, 0)?;
            if !seen.insert(id) {
                continue;
            }
            if maybe_number::<i64>(row, 14)?.is_some_and(|lapses_at| lapses_at <= now) {
                let lane = site.lane(number(row, 2)?)?;
                let (name, queue) = (lane.name.clone(), lane.queue.clone());
                chosen.expired.push(Ended { id, name, queue, attempt: count(row, 3)? });
                continue;
            }
            let begun = room.slots > 0 && wish.all > 0;
            if begun {
                (room.slots, wish.all) = (room.slots - 1, wish.all - 1);
                chosen.begin.push(id);
            } else if room.ahead > 0 {
                room.ahead -= 1;
                chosen.ahead.push(id);
            } else {
                continue;
            }
            let task = taken(site, row, now)?;
            chosen.tasks.push(ClaimedTask { lease: next_lease(task.lease), begun, ..task });
        }
    }
    Ok(chosen)
}

fn taken(site: &Site, row: &Row, now: i64) -> Result<ClaimedTask, Fault> {
    let lane = site.lane(number(row, 2)?)?;
    let spent = count(row, 3)?;
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
        tick: maybe_number::<i64>(row, 8)?.map(from_micros),
        waited: rules::between(number(row, 9)?, now),
        unreadable: count(row, 10)?,
        losses: count(row, 11)?,
        lost_alone: count(row, 12)?,
        begun: truth(row, 13)?,
    })
}

/// Asks for the heads of all lanes, as the columns of a few rows; gives the places of the answers.
fn ask_heads(site: &Site, script: &mut Script, lines: &Lines, now: i64) -> Vec<usize> {
    let prefix = &site.settings.prefix;
    let ask = |lanes: &[(LaneId, bool)]| {
        let head = |(lane, suspect): &(LaneId, bool)| {
            let mut text = prefix.fill(FIRST, &[lane]);
            text.push(b',');
            match suspect {
                true => text.extend(prefix.fill(LATER, &[lane, &now])),
                false => text.extend(b"NULL"),
            }
            text
        };
        let heads: Vec<_> = lanes.iter().map(head).collect();
        script.statements.push([&b"SELECT "[..], &heads.join(&b",\n"[..])].concat());
        script.statements.len() - 1
    };
    lines.all.chunks(LANES).map(ask).collect()
}

/// Says whether more is due and when the next becomes so.
fn look_on(
    lines: &Lines,
    answers: &Answers,
    places: &[usize],
    now: i64,
    claimed: &mut Claimed,
) -> Result<(), Fault> {
    (claimed.more, claimed.suspect_due, claimed.next_due) = (false, false, None);
    let mut next: Option<i64> = None;
    for (lanes, place) in lines.all.chunks(LANES).zip(places) {
        let row = answers.row(*place)?;
        for (at, (_, suspect)) in lanes.iter().enumerate() {
            let Some(first) = maybe_number::<i64>(row, at * 2)? else { continue };
            let due = first <= now;
            match (due, suspect) {
                (true, true) => claimed.suspect_due = true,
                (true, false) => claimed.more = true,
                (false, _) => {}
            }
            // What becomes due in a lane where something is due matters for suspects only: others are then claimed first.
            let later = if due { maybe_number(row, at * 2 + 1)? } else { Some(first) };
            next = [next, later].into_iter().flatten().min();
        }
    }
    let next = next.filter(|_| !claimed.more);
    claimed.next_due = next.map(|at| rules::between(now, at));
    Ok(())
}
