//! What happens to tasks from outside of an attempt: cancel, revive, prune.

use super::{
    connection::Connection,
    enqueue::{HOLDERS, live_key},
    error::Fault,
    lane::{Lane, LaneId},
    literal::List,
    rings::Rings,
    row::{count, maybe_number, maybe_text, number, state, task_id},
    script::Script,
    site::{NOW, Site, now},
};
use crate::{
    policy::Keep,
    storage::{
        Cancel, Ended, Pruned, Revive, rules,
        server::{Session, Transition},
    },
    task::{TaskId, TaskState},
};

/// How many tasks one round of pruning deletes at most.
const PRUNE_MAX: usize = 10_000;

const FIND: &str =
    "SELECT state, lane, `key`, due_at FROM {tasks} FORCE INDEX (PRIMARY) WHERE id = ? FOR UPDATE";

// Pending → cancelled. The rows were locked when their state was read.
pub(super) const CANCEL: &str = "UPDATE {tasks} FORCE INDEX (PRIMARY) SET state = 4, unhappy = 4, line = NULL, lapses_at = NULL,
    live_key = NULL, error = ?, finished_at = @evertask_now, prune_at = ? WHERE id IN ?";

// Running → running. Its node learns it by renewing; whatever it settles from now on ends as cancelled.
const ASK: &str = "UPDATE {tasks} FORCE INDEX (PRIMARY) SET cancel_asked = 1 WHERE id = ?";

// Final → pending. The lease stays, so that it keeps growing.
const REVIVE: &str = "UPDATE {tasks} FORCE INDEX (PRIMARY) SET state = 0, unhappy = NULL, lane = ?, line = ?, live_key = ?,
    due_at = @evertask_now, spent = 0, unreadable = 0, losses = 0, lost_alone = 0, finished_at = NULL, expires_at = NULL,
    lapses_at = NULL, prune_at = NULL, error = NULL, output_codec = NULL, output = NULL, output_error = NULL
    WHERE id = ?";

// Pending → pending, due now at the latest.
const HASTEN: &str =
    "UPDATE {tasks} FORCE INDEX (PRIMARY) SET due_at = LEAST(due_at, @evertask_now) WHERE id = ?";

// Any state but pending → ∅, with all that belongs to it. The rows are locked.
pub(super) const DELETE: &[&str] = &[
    "DELETE FROM {tags} WHERE id IN ?",
    "DELETE FROM {attempts} WHERE id IN ?",
    "DELETE FROM {tasks} WHERE id IN ?",
];

// Final and out of its time. Live ones have no such time.
pub(super) const PRUNE: &str =
    "SELECT id FROM {tasks} FORCE INDEX (ended) WHERE prune_at <= @evertask_now ORDER BY prune_at LIMIT ?
    FOR UPDATE SKIP LOCKED";

// Pending and expired.
pub(super) const EXPIRED: &str =
    "SELECT id, lane, spent FROM {tasks} FORCE INDEX (lapsing) WHERE lapses_at <= @evertask_now
    ORDER BY lapses_at LIMIT ? FOR UPDATE SKIP LOCKED";

pub(super) const NEXT: &str = "SELECT
    (SELECT prune_at FROM {tasks} FORCE INDEX (ended) WHERE prune_at IS NOT NULL ORDER BY prune_at LIMIT 1),
    (SELECT lapses_at FROM {tasks} FORCE INDEX (lapsing) WHERE lapses_at IS NOT NULL ORDER BY lapses_at LIMIT 1)";

// Nodes that have given no sign of life for a day and hold nothing.
const FORGET: &str = "DELETE n FROM {nodes} AS n WHERE n.beat_at < @evertask_now - 86400000000
    AND NOT EXISTS (SELECT 1 FROM {tasks} AS t FORCE INDEX (running) WHERE t.node = n.id)";

/// Deletes tasks that are locked.
pub(super) fn delete(script: &mut Script, ids: &[TaskId]) {
    for sql in DELETE {
        script.add(sql, &[&List(ids)]);
    }
}

/// Cancels locked tasks that have expired.
pub(super) fn expire(script: &mut Script, ids: &[TaskId], prune_at: Option<i64>) {
    script.add(CANCEL, &[&rules::EXPIRED, &prune_at, &List(ids)]);
}

/// A task that is locked.
struct Found {
    now: i64,
    state: TaskState,
    lane: LaneId,
    key: Option<String>,
}

/// Begins a transaction and locks the task.
async fn find(site: &Site, conn: &mut Connection, id: TaskId) -> Result<Option<Found>, Fault> {
    let mut script = site.transaction();
    let time = script.add(NOW, &[]);
    let found = script.add(FIND, &[&id]);
    let answers = conn.run(script).await?;
    let now = now(answers.row(time)?)?;
    let Some(row) = answers.rows(found)?.first() else { return Ok(None) };
    let key = maybe_text(row, 2)?.map(str::to_owned);
    Ok(Some(Found { now, state: state(row, 0)?, lane: number(row, 1)?, key }))
}

#[derive(Debug)]
pub(super) struct CancelTask {
    pub(super) id: TaskId,
    pub(super) keep: Keep,
}

impl Transition<Site> for CancelTask {
    type Answer = Cancel;

    const DOING: &'static str = "cannot cancel a task";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Cancel, Fault> {
        let found = find(site, conn, self.id).await?;
        let mut rings = Rings::default();
        let mut script = site.script();
        let done = match found {
            None => Cancel::Unknown,
            Some(Found { state: TaskState::Pending, now, .. }) => {
                let prune_at = rules::prune_at(self.keep, now);
                if self.keep == Keep::No {
                    delete(&mut script, &[self.id]);
                } else {
                    script.add(CANCEL, &[&rules::CANCELLED, &prune_at, &List(&[self.id])]);
                }
                rings.ended.insert(self.id);
                Cancel::Done
            }
            Some(Found { state: TaskState::Running, .. }) => {
                script.add(ASK, &[&self.id]);
                rings.orders = true;
                Cancel::Asked
            }
            Some(Found { state: ended, .. }) => Cancel::TooLate(ended),
        };
        script.add("COMMIT", &[]);
        conn.run(script).await?;
        site.ring(rings);
        Ok(done)
    }
}

#[derive(Debug)]
pub(super) struct ReviveTask(pub(super) TaskId);

impl Transition<Site> for ReviveTask {
    type Answer = Revive;

    const DOING: &'static str = "cannot run a task again";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Revive, Fault> {
        loop {
            let found = find(site, conn, self.0).await?;
            let mut rings = Rings::default();
            let mut script = site.script();
            let done = match found {
                None => Revive::Unknown,
                Some(Found { state: TaskState::Running, .. }) => Revive::Running,
                Some(Found { state: TaskState::Pending, .. }) => {
                    script.add(HASTEN, &[&self.0]);
                    rings.work(std::time::Duration::ZERO);
                    Revive::Hastened
                }
                Some(task) => {
                    site.know(conn, task.lane).await?;
                    // Its losses are forgotten, so it is a suspect no more.
                    let lane = Lane { suspect: false, ..Lane::clone(&*site.lane(task.lane)?) };
                    let number = site.lanes().number(&lane);
                    let Some(number) = number else {
                        conn.roll_back().await?;
                        site.numbers(conn, vec![lane]).await?;
                        continue;
                    };
                    let key = task.key.map(|key| live_key(&lane.name, &key));
                    let key = key.as_deref();
                    if let Some(holder) = holder(site, conn, key).await? {
                        Revive::KeyTaken(holder)
                    } else {
                        // Should another dispatch store this key at this moment, one of the two collides and tries again.
                        script.add(REVIVE, &[&number, &number, &key, &self.0]);
                        rings.work(std::time::Duration::ZERO);
                        Revive::Revived
                    }
                }
            };
            script.add("COMMIT", &[]);
            conn.run(script).await?;
            site.ring(rings);
            return Ok(done);
        }
    }
}

/// The live task that holds this key.
async fn holder(
    site: &Site,
    conn: &mut Connection,
    key: Option<&[u8]>,
) -> Result<Option<TaskId>, Fault> {
    let Some(key) = key else { return Ok(None) };
    let mut script = site.script();
    let holders = script.add(HOLDERS, &[&List(&[key])]);
    let answers = conn.run(script).await?;
    answers.rows(holders)?.first().map(|row| task_id(row, 1)).transpose()
}

#[derive(Debug)]
pub(super) struct Prune(pub(super) usize);

impl Transition<Site> for Prune {
    type Answer = Pruned;

    const DOING: &'static str = "cannot prune tasks";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Pruned, Fault> {
        let limit = self.0.min(PRUNE_MAX);
        let mut script = site.transaction();
        let time = script.add(NOW, &[]);
        let gone = script.add(PRUNE, &[&limit]);
        let expired = script.add(EXPIRED, &[&limit]);
        let answers = conn.run(script).await?;
        let now = now(answers.row(time)?)?;
        let gone = answers.rows(gone)?.iter().map(|row| task_id(row, 0));
        let gone = gone.collect::<Result<Vec<_>, _>>()?;
        let mut pruned = Pruned { deleted: gone.len(), ..Pruned::default() };
        let mut rings = Rings::default();
        for row in answers.rows(expired)? {
            site.know(conn, number(row, 1)?).await?;
            let lane = site.lane(number(row, 1)?)?;
            let (id, name, queue) = (task_id(row, 0)?, lane.name.clone(), lane.queue.clone());
            rings.ended.insert(id);
            pruned.expired.push(Ended { id, name, queue, attempt: count(row, 2)? });
        }
        let mut script = site.script();
        if !gone.is_empty() {
            delete(&mut script, &gone);
        }
        if !pruned.expired.is_empty() {
            let ids: Vec<TaskId> = pruned.expired.iter().map(|ended| ended.id).collect();
            expire(&mut script, &ids, rules::prune_at(rules::KEEP_EXPIRED, now));
        }
        script.add(FORGET, &[]);
        let next = script.add(NEXT, &[]);
        script.add("COMMIT", &[]);
        let answers = conn.run(script).await?;
        let row = answers.row(next)?;
        let next =
            [maybe_number::<i64>(row, 0)?, maybe_number(row, 1)?].into_iter().flatten().min();
        pruned.next = next.map(|at| rules::between(now, at));
        site.ring(rings);
        Ok(pruned)
    }
}
