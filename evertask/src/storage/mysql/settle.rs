//! Running → what the verdict says.

use std::collections::HashMap;

use super::{
    complete::complete,
    connection::Connection,
    enqueue::{self, lane_of},
    error::{Fault, cannot_take},
    lane::{Lane, LaneId},
    literal::{List, Rows, Table},
    rings::Rings,
    row::{count, end, number, state, task_id, truth, unsigned},
    site::{NOW, Site, now},
    verdicts::{Attempts, Back, Ends, Gone},
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

// Locked in the order of their ids, so that two batches cannot wait for each other.
pub(super) const FIND: &str = "SELECT id, lane, state, lease, spent, unreadable, losses, lost_alone, cancel_asked, begun, due_at
    FROM {tasks} FORCE INDEX (PRIMARY) WHERE id IN ? ORDER BY id FOR UPDATE";

pub(super) const WRITTEN: &str = "SELECT a.id, a.lease, a.outcome FROM ? AS s STRAIGHT_JOIN {attempts} AS a FORCE INDEX (PRIMARY)
    ON a.id = s.id AND a.lease = s.lease";
pub(super) const LEASES: &str = "x'' AS id, 0 AS lease";

/// The most that a row takes besides an output: error texts, in two digits for each byte.
const OTHERS: usize = 5 * crate::bounds::ERROR_MAX;

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
    let wanted = fine.flat_map(|settlement| &settlement.effects).map(|effect| match effect {
        Effect::Enqueue(task) => lane_of(task),
    });
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

async fn try_judge(
    site: &Site,
    conn: &mut Connection,
    all: &[&Settlement],
) -> Result<Judged, Fault> {
    let ids: Vec<TaskId> = all.iter().map(|it| it.id).collect();
    let mut leases = Rows::default();
    for it in all {
        leases.push(&[&it.id, &it.lease]);
    }
    let mut script = site.transaction();
    let time = script.add(NOW, &[]);
    let found = script.add(FIND, &[&List(&ids)]);
    let written: Vec<_> = leases.parts(conn.part()).map(|part| Table(LEASES, part)).collect();
    let written: Vec<_> = written.iter().map(|rows| script.add(WRITTEN, &[rows])).collect();
    let answers = conn.run(script).await?;
    let mut writes = Writes::new(now(answers.row(time)?)?, conn.room());
    let mut tasks: HashMap<TaskId, Task> = HashMap::new();
    for row in answers.rows(found)? {
        let lane = number(row, 1)?;
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
                cancel_asked: truth(row, 8)?,
                begun: truth(row, 9)?,
                due_at: number(row, 10)?,
            },
        );
    }
    let mut outcomes: HashMap<(TaskId, u64), AttemptEnd> = HashMap::new();
    for place in written {
        for row in answers.rows(place)? {
            outcomes.insert((task_id(row, 0)?, unsigned(row, 1)?), end(row, 2)?);
        }
    }
    let told = all
        .iter()
        .map(|settlement| writes.one(site, settlement, &mut tasks, &mut outcomes))
        .collect();
    if !writes.missing.is_empty() {
        return Ok(Judged::Lanes(writes.missing));
    }
    writes.commit(site, conn).await?;
    Ok(Judged::Settled(told))
}

/// What a batch comes to.
struct Writes<'s> {
    now: i64,
    /// The longest rows that fit into one statement.
    room: usize,
    back: Back,
    ends: Ends,
    attempts: Attempts,
    gone: Gone,
    effects: Vec<&'s NewTask>,
    missing: Vec<Lane>,
    rings: Rings,
}

impl<'s> Writes<'s> {
    fn new(now: i64, room: usize) -> Self {
        Self {
            now,
            room,
            back: Back::default(),
            ends: Ends::default(),
            attempts: Attempts::default(),
            gone: Gone::default(),
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
            // The first time may have been a moment ago, in the statement that does not say which ones it has met.
            match task.state {
                TaskState::Running => {}
                TaskState::Pending => self.rings.again(),
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
        let output = settlement.output.as_ref().map_or(0, |output| output.bytes.len());
        let size = output * 2 + OTHERS;
        if completes && size > self.room {
            return Settled::Unstorable(format!("the output: {}", cannot_take(size, self.room)));
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
            (task.lane, task.due_at) = (lane, due_at);
        } else {
            self.rings.ended.insert(id);
            if gone {
                self.gone.0.push(id);
            } else {
                let prune_at = rules::prune_at(keep, self.now);
                self.ends.push(settlement, &to, started_at, prune_at);
            }
        }
        if completes {
            self.effects.extend(settlement.effects.iter().map(|effect| match effect {
                Effect::Enqueue(task) => &**task,
            }));
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

    async fn commit(mut self, site: &Site, conn: &mut Connection) -> Result<(), Fault> {
        let part = conn.part();
        let mut script = site.script();
        self.back.write(&mut script, part);
        self.ends.write(&mut script, part);
        self.attempts.write(&mut script, part);
        self.gone.write(&mut script);
        if !self.effects.is_empty() {
            enqueue::check_sizes(conn, &self.effects)?;
            let lanes: Option<Vec<LaneId>> = {
                let lanes = site.lanes();
                self.effects.iter().map(|task| lanes.number(&lane_of(task))).collect()
            };
            // They were made before the transaction began.
            let lanes = lanes.ok_or(Fault::Damaged("a lane is gone that was just made"))?;
            let effects =
                enqueue::plan(site, conn, &self.effects, &lanes, script, &mut self.rings).await?;
            script = effects.1;
        }
        script.add("COMMIT", &[]);
        conn.run(script).await?;
        site.ring(self.rings);
        Ok(())
    }
}
