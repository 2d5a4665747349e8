//! Running → what the verdict says.

use std::collections::{HashMap, HashSet};

use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    batch::{Batch, SEEN, keyed_ids},
    columns::Statements,
    connection::{Connection, Sql, Step},
    enqueue::lane_of,
    error::Fault,
    lane::{Lane, LaneId},
    outside,
    rings::Rings,
    row::{count, end, get, state, task_id, unsigned},
    site::{NOW, Site, now},
    verdicts::{Attempts, Back, Ends},
};
use crate::{
    policy::Keep,
    storage::{
        Effect, NewTask, Settled, Settlement,
        clock::duration_micros,
        rules::{self, Counters, Transition},
        server::{Gathered, Session, weight},
    },
    task::{AttemptEnd, TaskId, TaskState},
    verdict::Verdict,
};

// Running → completed, for what needs no look: the lease is the current one, no cancel was asked for, nothing is written down.
// What does not fit is not touched and not answered. That it runs is told by its having a node: asked for its state, an empty
// table would be gone through by the index of what runs, and once it has filled up still be.
pub(super) const COMPLETE: Sql = Sql {
    text: "UPDATE tasks AS t SET state = 2, spent = t.spent + 1,
            started_at = CASE WHEN t.begun THEN t.started_at ELSE clock.now - s.ran END,
            finished_at = clock.now, prune_at = clock.now + s.keep, error = NULL,
            output_codec = s.codec, output = s.output, output_error = s.output_error,
            node = NULL, claim = NULL, begun = false
        FROM unnest($2, $3, $4, $5, $6, $7, $8) AS s (id, lease, ran, keep, codec, output, output_error),
            (SELECT coalesce($1, (extract(epoch FROM clock_timestamp()) * 1000000)::int8) AS now) AS clock
        WHERE t.id = s.id AND t.lease = s.lease AND t.node IS NOT NULL AND NOT t.cancel_asked
        RETURNING t.id",
    types: &[
        Type::INT8,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT4_ARRAY,
        Type::BYTEA_ARRAY,
        Type::TEXT_ARRAY,
    ],
};

// Locked in the order of their ids, so that two batches cannot wait for each other.
pub(super) const FIND: Sql = Sql {
    text: "SELECT id, lane, state, lease, spent, unreadable, losses, lost_alone, cancel_asked, begun, due_at
        FROM tasks WHERE id = ANY($1) ORDER BY id FOR UPDATE",
    types: &[Type::UUID_ARRAY],
};

pub(super) const WRITTEN: Sql = Sql {
    text: "SELECT a.id, a.lease, a.outcome FROM unnest($1, $2) AS s (id, lease)
        JOIN attempts AS a ON a.id = s.id AND a.lease = s.lease",
    types: &[Type::UUID_ARRAY, Type::INT8_ARRAY],
};

/// Settles attempts for many callers in one transaction.
#[derive(Debug)]
pub(super) struct Settle;

impl Gathered<Site> for Settle {
    type Request = Vec<Settlement>;
    type Answer = Vec<Settled>;

    const DOING: &'static str = "cannot settle tasks";

    fn rows(request: &Self::Request) -> usize {
        let size = |it: &Settlement| it.output.as_ref().map_or(0, |output| output.bytes.len());
        request.iter().map(|it| weight(size(it))).sum()
    }

    fn asked_again(answer: Self::Answer) -> Self::Answer {
        answer.into_iter().map(Settled::sent_before).collect()
    }

    async fn run(
        site: &Site,
        conn: &mut Connection,
        requests: &[&Self::Request],
    ) -> Result<Vec<Self::Answer>, Fault> {
        let all: Vec<&Settlement> = requests.iter().copied().flatten().collect();
        let told = match settle(site, conn, &all).await {
            Err(fault) if requests.len() == 1 && !fault.concerns_all() => {
                one_by_one(site, conn, &all).await?
            }
            told => told?,
        };
        let mut told = told.into_iter();
        Ok(requests.iter().map(|request| told.by_ref().take(request.len()).collect()).collect())
    }
}

/// Settles each by itself, so that only the one is told that cannot be stored.
async fn one_by_one(
    site: &Site,
    conn: &mut Connection,
    all: &[&Settlement],
) -> Result<Vec<Settled>, Fault> {
    let mut told = Vec::with_capacity(all.len());
    for settlement in all {
        conn.roll_back().await?;
        told.push(match settle(site, conn, &[settlement]).await {
            Err(fault) if !fault.concerns_all() && !fault.breaks_connection() => {
                Settled::Unstorable(format!("task {}: {fault}", settlement.id))
            }
            settled => settled?.pop().unwrap_or(Settled::Refused),
        });
    }
    Ok(told)
}

async fn settle(
    site: &Site,
    conn: &mut Connection,
    all: &[&Settlement],
) -> Result<Vec<Settled>, Fault> {
    let mut told: Vec<Option<Settled>> = vec![None; all.len()];
    complete(site, conn, all, &mut told).await?;
    let rest: Vec<usize> = (0..all.len()).filter(|at| told[*at].is_none()).collect();
    if !rest.is_empty() {
        let settlements: Vec<&Settlement> = rest.iter().map(|at| all[*at]).collect();
        let settled = judge(site, conn, &settlements).await?;
        for (at, settled) in rest.into_iter().zip(settled) {
            told[at] = Some(settled);
        }
    }
    Ok(told.into_iter().map(|told| told.unwrap_or(Settled::Refused)).collect())
}

/// True if nothing is to be done but to complete the task, should it still be ours and wanted.
fn is_plain(settlement: &Settlement) -> bool {
    settlement.verdict == Verdict::Complete
        && settlement.attempt.is_none()
        && settlement.effects.is_empty()
        && settlement.keep.completed != Keep::No
}

/// How long after its end a completed task may be deleted.
pub(super) fn kept(keep: Keep) -> Option<i64> {
    match keep {
        Keep::Forever => None,
        Keep::For(time) => Some(duration_micros(time)),
        Keep::No => Some(0),
    }
}

/// Completes what simply completes, in one statement.
async fn complete(
    site: &Site,
    conn: &Connection,
    all: &[&Settlement],
    told: &mut [Option<Settled>],
) -> Result<(), Fault> {
    let mut met = HashSet::new();
    // The first word about a task counts, so only that may go this way.
    let plain: Vec<usize> =
        (0..all.len()).filter(|at| met.insert(all[*at].id) && is_plain(all[*at])).collect();
    if plain.is_empty() {
        return Ok(());
    }
    let plain_ones = || plain.iter().map(|at| all[*at]);
    let id: Vec<Uuid> = plain_ones().map(|it| *it.id.as_uuid()).collect();
    let lease: Vec<i64> = plain_ones().map(|it| it.lease.cast_signed()).collect();
    let ran: Vec<i64> = plain_ones().map(|it| duration_micros(it.ran)).collect();
    let keep: Vec<Option<i64>> = plain_ones().map(|it| kept(it.keep.completed)).collect();
    let codec: Vec<Option<i32>> =
        plain_ones().map(|it| it.output.as_ref().map(|output| output.codec.into())).collect();
    let output: Vec<Option<&[u8]>> =
        plain_ones().map(|it| it.output.as_ref().map(|output| &*output.bytes)).collect();
    let output_error: Vec<Option<String>> =
        plain_ones().map(|it| it.output_error.as_deref().map(rules::storable_error)).collect();
    let now = site.injected();
    let rows = conn
        .one((&COMPLETE, &[&now, &id, &lease, &ran, &keep, &codec, &output, &output_error]))
        .await?;
    let mut rings = Rings::default();
    for row in &rows {
        rings.ended.insert(task_id(row, 0)?);
    }
    for at in plain {
        if rings.ended.contains(&all[at].id) {
            told[at] = Some(Settled::Applied(TaskState::Completed));
        }
    }
    site.ring(rings);
    Ok(())
}

/// A task as far as it matters here.
struct Task {
    lane: LaneId,
    state: TaskState,
    lease: u64,
    counters: Counters,
    cancel_asked: bool,
    begun: bool,
    due_at: i64,
}

/// Settles in one transaction what has to be looked at first.
async fn judge(
    site: &Site,
    conn: &mut Connection,
    all: &[&Settlement],
) -> Result<Vec<Settled>, Fault> {
    // What cannot be stored is told so further on, and needs no lane.
    let fine = all.iter().filter(|settlement| rules::check_effects(&settlement.effects).is_ok());
    let effects = fine.flat_map(|settlement| &settlement.effects);
    let wanted = effects.map(|Effect::Enqueue(task)| lane_of(task));
    site.numbers(conn, wanted.collect()).await?;
    loop {
        match try_judge(site, conn, all).await? {
            Judged::Settled(told) => return Ok(told),
            // Once for each lane in the life of a database.
            Judged::Lanes(missing) => {
                conn.roll_back().await?;
                site.numbers(conn, missing).await?;
            }
        }
    }
}

enum Judged {
    Settled(Vec<Settled>),
    /// Nothing was done, since these have to be made first, outside of the transaction.
    Lanes(Vec<Lane>),
}

async fn try_judge(site: &Site, conn: &Connection, all: &[&Settlement]) -> Result<Judged, Fault> {
    let id: Vec<Uuid> = all.iter().map(|it| *it.id.as_uuid()).collect();
    let lease: Vec<i64> = all.iter().map(|it| it.lease.cast_signed()).collect();
    let injected = site.injected();
    let effects = all.iter().flat_map(|it| &it.effects).map(|Effect::Enqueue(task)| &**task);
    let keyed = keyed_ids(effects);
    let looks: [Step<'_>; 4] =
        [(&NOW, &[&injected]), (&FIND, &[&id]), (&WRITTEN, &[&id, &lease]), (&SEEN, &[&keyed])];
    let looks = if keyed.is_empty() { &looks[..3] } else { &looks };
    let answers = conn.begin(looks).await?;
    let [time, found, written, seen @ ..] = answers.as_slice() else {
        return Err(Fault::Damaged("an answer is missing"));
    };
    let mut writes = Writes::new(now(time)?);
    let mut tasks: HashMap<TaskId, Task> = HashMap::new();
    for row in found {
        let lane = get(row, 1)?;
        site.know(conn, lane).await?;
        tasks.insert(
            task_id(row, 0)?,
            Task {
                lane,
                state: state(row, 2)?,
                lease: unsigned(row, 3)?,
                counters: Counters {
                    spent: count(row, 4)?,
                    unreadable: count(row, 5)?,
                    losses: count(row, 6)?,
                    lost_alone: count(row, 7)?,
                },
                cancel_asked: get(row, 8)?,
                begun: get(row, 9)?,
                due_at: get(row, 10)?,
            },
        );
    }
    let mut outcomes: HashMap<(TaskId, u64), AttemptEnd> = HashMap::new();
    for row in written {
        outcomes.insert((task_id(row, 0)?, unsigned(row, 1)?), end(row, 2)?);
    }
    let told = all
        .iter()
        .map(|settlement| writes.one(site, settlement, &mut tasks, &mut outcomes))
        .collect();
    if !writes.missing.is_empty() {
        return Ok(Judged::Lanes(writes.missing));
    }
    writes.commit(site, conn, seen.first().map_or(&[], Vec::as_slice)).await?;
    Ok(Judged::Settled(told))
}

/// What a batch comes to.
struct Writes<'s> {
    now: i64,
    back: Back,
    ends: Ends<'s>,
    attempts: Attempts,
    deleted: Vec<Uuid>,
    effects: Vec<&'s NewTask>,
    missing: Vec<Lane>,
    rings: Rings,
}

impl<'s> Writes<'s> {
    fn new(now: i64) -> Self {
        Self {
            now,
            back: Back::default(),
            ends: Ends::default(),
            attempts: Attempts::default(),
            deleted: Vec::new(),
            effects: Vec::new(),
            missing: Vec::new(),
            rings: Rings::default(),
        }
    }

    /// Notes what one settlement changes, in the tasks as well: a later one of the batch meets them as it leaves them.
    fn one(
        &mut self,
        site: &Site,
        settlement: &'s Settlement,
        tasks: &mut HashMap<TaskId, Task>,
        outcomes: &mut HashMap<(TaskId, u64), AttemptEnd>,
    ) -> Settled {
        let id = settlement.id;
        let Some(task) = tasks.get_mut(&id) else {
            self.rings.ended.insert(id);
            return rules::gone(settlement);
        };
        if task.state != TaskState::Running || task.lease != settlement.lease {
            let written = outcomes.get(&(id, settlement.lease)).copied();
            if !rules::repeated(settlement, task.lease, task.state, written) {
                return Settled::Refused;
            }
            match task.state {
                TaskState::Running => {}
                TaskState::Pending => {
                    self.rings.again();
                    self.rings.back = true;
                }
                TaskState::Completed | TaskState::Failed | TaskState::Cancelled => {
                    self.rings.ended.insert(id);
                }
            }
            return Settled::Applied(task.state);
        }
        let to = Transition::of(settlement, task.cancel_asked, task.counters);
        let completes = to.state == TaskState::Completed;
        if let (true, Err(why)) = (completes, rules::check_effects(&settlement.effects)) {
            return Settled::Unstorable(why);
        }
        let began = self.now.saturating_sub(duration_micros(settlement.ran));
        // A task taken ahead may have begun and ended before anybody marked it.
        let unmarked = !task.begun
            && (settlement.attempt.is_some() || settlement.verdict == Verdict::Complete);
        let started_at = unmarked.then_some(began);
        let keep = rules::keep_for(&settlement.keep, to.state);
        let gone = to.state.is_final() && keep == Keep::No;
        if let (false, Some(attempt)) = (gone, &settlement.attempt) {
            self.attempts.write_down(id, task.lease, task.counters.spent, attempt, began, self.now);
            outcomes.insert((id, task.lease), attempt.end);
        }
        if !to.state.is_final() {
            let due_at = to.delay.map_or(task.due_at, |delay| rules::after(self.now, delay));
            let Some(lane) = self.lane_after(site, task.lane, &to.counters) else {
                return Settled::Refused;
            };
            self.back.push(id, lane, due_at, started_at, &to);
            self.rings.work(rules::between(self.now, due_at));
            self.rings.back |= to.delay.is_none();
            (task.lane, task.due_at) = (lane, due_at);
        } else {
            self.rings.ended.insert(id);
            if gone {
                self.deleted.push(*id.as_uuid());
            } else {
                let prune_at = rules::prune_at(keep, self.now);
                self.ends.push(settlement, &to, started_at, self.now, prune_at);
            }
        }
        if completes {
            let stored = |Effect::Enqueue(task): &'s Effect| &**task;
            self.effects.extend(settlement.effects.iter().map(stored));
        }
        (task.state, task.counters, task.cancel_asked) = (to.state, to.counters, false);
        if gone {
            tasks.remove(&id);
        }
        Settled::Applied(to.state)
    }

    /// The lane in which a task waits that comes back with these counters; `None` if it has to be made first.
    fn lane_after(&mut self, site: &Site, lane: LaneId, counters: &Counters) -> Option<LaneId> {
        let lanes = site.lanes();
        let was = lanes.get(lane)?;
        if was.suspect == counters.suspect() {
            return Some(lane);
        }
        let wanted = Lane { suspect: counters.suspect(), ..Lane::clone(was) };
        let number = lanes.number(&wanted);
        if number.is_none() {
            self.missing.push(wanted);
        }
        number
    }

    /// `seen` is what [`SEEN`] answered about the effects.
    async fn commit(mut self, site: &Site, conn: &Connection, seen: &[Row]) -> Result<(), Fault> {
        let mut statements = Statements::default();
        if !self.back.is_empty() {
            statements.add(&Back::SQL, self.back.params().into());
        }
        if !self.ends.is_empty() {
            statements.add(&Ends::SQL, self.ends.params().into());
        }
        if !self.attempts.is_empty() {
            statements.add(&Attempts::SQL, self.attempts.params().into());
        }
        if !self.attempts.has_no_old() {
            statements.add(&Attempts::DROP_OLDEST, self.attempts.old().into());
        }
        if !self.deleted.is_empty() {
            statements.add(&outside::DELETE, vec![&self.deleted]);
        }
        let mut steps = statements.steps();
        let lanes: Option<Vec<LaneId>> = {
            let lanes = site.lanes();
            self.effects.iter().map(|task| lanes.number(&lane_of(task))).collect()
        };
        // They were made before the transaction began.
        let lanes = lanes.ok_or(Fault::Damaged("a lane is gone that was just made"))?;
        let effects = Batch::of(std::mem::take(&mut self.effects), &lanes, seen, site.injected())?;
        let (before, stored) = (steps.len(), effects.statements());
        steps.extend(stored.steps());
        let answers = conn.commit(&steps).await?;
        effects.told(&answers[before..], &mut self.rings)?;
        site.ring(self.rings);
        Ok(())
    }
}
