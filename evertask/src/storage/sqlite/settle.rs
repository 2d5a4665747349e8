//! Running → what the verdict says.

use rusqlite::{OptionalExtension, params};

use super::{
    enqueue::enqueue_one,
    error::concerns_all,
    hot::Hot,
    lane::Lane,
    row::{count, end, state, unsigned},
    transaction::{Place, Transaction},
};
use crate::{
    bounds::ATTEMPTS_KEPT,
    policy::Keep,
    storage::{
        AttemptRecord, Effect, Settled, Settlement,
        clock::duration_micros,
        numbers::{end_number, state_number},
        rules::{self, Counters, Transition},
    },
    task::{AttemptEnd, TaskId, TaskState},
    verdict::Verdict,
};

pub(super) const FIND: &str =
    "SELECT seq, lane, state, lease, spent, unreadable, losses, lost_alone, cancel_asked, begun
     FROM evertask_tasks WHERE id = ?1";

pub(super) const WRITTEN: &str =
    "SELECT outcome FROM evertask_attempts WHERE id = ?1 AND lease = ?2";

// Running → pending. State and lease were read in the same write transaction: that is the fence.
pub(super) const BACK: &str = "UPDATE evertask_tasks
     SET state = 0, lane = ?2, due_at = coalesce(?3, due_at), spent = ?4, unreadable = ?5, losses = ?6, lost_alone = ?7,
         started_at = coalesce(?8, started_at), error = coalesce(?9, error),
         node = NULL, claim = NULL, begun = 0, cancel_asked = 0
     WHERE seq = ?1 RETURNING due_at";

// Running → completed, failed or cancelled. Fenced in the same way.
pub(super) const END: &str = "UPDATE evertask_tasks
     SET state = ?2, spent = ?3, unreadable = ?4, losses = ?5, lost_alone = ?6, started_at = coalesce(?7, started_at),
         finished_at = ?8, prune_at = ?9, error = CASE ?2 WHEN 2 THEN NULL ELSE coalesce(?10, error) END,
         output_codec = ?11, output = ?12, output_error = ?13,
         node = NULL, claim = NULL, begun = 0, cancel_asked = 0
     WHERE seq = ?1";

// Running → completed, of what is kept, where no cancel was asked for. The fence is in it: most completions need no look before.
pub(super) const COMPLETE: &str = "UPDATE evertask_tasks
     SET state = 2, spent = spent + 1, started_at = CASE begun WHEN 0 THEN ?4 ELSE started_at END,
         finished_at = ?5, prune_at = ?6, error = NULL, output_codec = ?7, output = ?8, output_error = ?9,
         node = NULL, claim = NULL, begun = 0
     WHERE seq = ?1 AND id = ?2 AND lease = ?3 AND state = 1 AND cancel_asked = 0";

const WRITE_DOWN: &str = "INSERT OR REPLACE INTO evertask_attempts
     (id, lease, attempt, node, binary, started_at, ended_at, outcome, error, fingerprint)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

const DROP_OLDEST: &str = "DELETE FROM evertask_attempts WHERE id = ?1 AND lease <=
     (SELECT lease FROM evertask_attempts WHERE id = ?1 ORDER BY lease DESC LIMIT 1 OFFSET ?2)";

pub(super) fn settle(
    tx: &mut Transaction<'_>,
    batch: &[Settlement],
) -> rusqlite::Result<Vec<Settled>> {
    batch
        .iter()
        .map(|settlement| if tx.alone { guarded(tx, settlement) } else { one(tx, settlement) })
        .collect()
}

/// Settles one so that only this one is told if it cannot be stored.
fn guarded(tx: &mut Transaction<'_>, settlement: &Settlement) -> rusqlite::Result<Settled> {
    tx.execute("SAVEPOINT settlement", [])?;
    let settled = match one(tx, settlement) {
        Err(error) if !concerns_all(&error) => {
            tx.execute("ROLLBACK TO settlement", [])?;
            // A lane that was made for it is gone again.
            *tx.lanes = super::lane::Lanes::default();
            tx.lanes.refresh(tx.conn)?;
            Ok(Settled::Unstorable(format!("task {}: {error}", settlement.id)))
        }
        settled => settled,
    };
    tx.execute("RELEASE settlement", [])?;
    settled
}

fn one(tx: &mut Transaction<'_>, settlement: &Settlement) -> rusqlite::Result<Settled> {
    if let Some(seq) = tx.rows.take(settlement.id)
        && settlement.verdict == Verdict::Complete
        && complete(tx, seq, settlement)?
    {
        return Ok(Settled::Applied(TaskState::Completed));
    }
    let Some(task) = find(tx, settlement.id)? else {
        tx.rings.ended.push(settlement.id);
        return Ok(rules::gone(settlement));
    };
    if task.state != TaskState::Running || task.lease != settlement.lease {
        let written = written(tx, settlement)?;
        if !rules::repeated(settlement, task.lease, task.state, written) {
            return Ok(Settled::Refused);
        }
        match task.state {
            TaskState::Running => {}
            TaskState::Pending => tx.rings.again(),
            TaskState::Completed | TaskState::Failed | TaskState::Cancelled => {
                tx.rings.ended.push(settlement.id);
            }
        }
        return Ok(Settled::Applied(task.state));
    }
    let to = Transition::of(settlement, task.cancel_asked, task.counters);
    let completes = to.state == TaskState::Completed;
    if let (true, Err(why)) = (completes, rules::check_effects(&settlement.effects)) {
        return Ok(Settled::Unstorable(why));
    }
    go(tx, &task, settlement, &to)?;
    if completes {
        for effect in &settlement.effects {
            match effect {
                Effect::Enqueue(task) => enqueue_one(tx, task)?,
            };
        }
    }
    Ok(Settled::Applied(to.state))
}

/// Completes a task that simply completes, in the row where it should lie. False if nothing was done, as there is more to it.
fn complete(tx: &mut Transaction<'_>, seq: i64, settlement: &Settlement) -> rusqlite::Result<bool> {
    let keep = settlement.keep.completed;
    let simple = settlement.effects.is_empty() && settlement.attempt.is_none();
    if !simple || keep == Keep::No {
        return Ok(false);
    }
    let output = settlement.output.as_ref();
    let changed = tx.hot(Hot::Complete)?.execute(params![
        seq,
        settlement.id.as_uuid().as_bytes(),
        settlement.lease.cast_signed(),
        tx.now.saturating_sub(duration_micros(settlement.ran)),
        tx.now,
        rules::prune_at(keep, tx.now),
        output.map(|output| output.codec),
        output.map(|output| &*output.bytes),
        settlement.output_error.as_deref().map(rules::storable_error)
    ])?;
    if changed > 0 {
        tx.rings.ended.push(settlement.id);
    }
    Ok(changed > 0)
}

/// A task as far as it matters here.
struct Task {
    place: Place,
    state: TaskState,
    lease: u64,
    counters: Counters,
    cancel_asked: bool,
    begun: bool,
}

fn find(tx: &Transaction<'_>, id: TaskId) -> rusqlite::Result<Option<Task>> {
    let task = |row: &rusqlite::Row<'_>| {
        Ok(Task {
            place: Place { seq: row.get(0)?, id, lane: row.get(1)? },
            state: state(row, 2)?,
            lease: unsigned(row, 3)?,
            counters: Counters {
                spent: count(row, 4)?,
                unreadable: count(row, 5)?,
                losses: count(row, 6)?,
                lost_alone: count(row, 7)?,
            },
            cancel_asked: row.get(8)?,
            begun: row.get(9)?,
        })
    };
    tx.prepare(FIND)?.query_row([id.as_uuid().as_bytes()], task).optional()
}

/// What is written down of the attempt that is to be settled.
fn written(tx: &Transaction<'_>, settlement: &Settlement) -> rusqlite::Result<Option<AttemptEnd>> {
    let params = params![settlement.id.as_uuid().as_bytes(), settlement.lease.cast_signed()];
    tx.prepare(WRITTEN)?.query_row(params, |row| end(row, 0)).optional()
}

fn go(
    tx: &mut Transaction<'_>,
    task: &Task,
    settlement: &Settlement,
    to: &Transition,
) -> rusqlite::Result<()> {
    let began = tx.now.saturating_sub(duration_micros(settlement.ran));
    // A task taken ahead may have begun and ended before anybody marked it.
    let unmarked =
        !task.begun && (settlement.attempt.is_some() || settlement.verdict == Verdict::Complete);
    let started_at = unmarked.then_some(began);
    let Counters { spent, unreadable, losses, lost_alone } = to.counters;
    let seq = task.place.seq;
    if !to.state.is_final() {
        if let Some(attempt) = &settlement.attempt {
            write_down(tx, task, attempt, began)?;
        }
        let lane = lane_after(tx, task, &to.counters)?;
        let due_at = to.delay.map(|delay| rules::after(tx.now, delay));
        let due_at = tx.prepare(BACK)?.query_row(
            params![seq, lane, due_at, spent, unreadable, losses, lost_alone, started_at, to.error],
            |row| row.get(0),
        )?;
        tx.pending(lane, due_at);
        return Ok(());
    }
    tx.rings.ended.push(task.place.id);
    let keep = rules::keep_for(&settlement.keep, to.state);
    if keep == Keep::No {
        return tx.delete(task.place);
    }
    if let Some(attempt) = &settlement.attempt {
        write_down(tx, task, attempt, began)?;
    }
    let completes = to.state == TaskState::Completed;
    let output = settlement.output.as_ref().filter(|_| completes);
    let output_error = settlement.output_error.as_deref().filter(|_| completes);
    tx.execute(
        END,
        params![
            seq,
            state_number(to.state),
            spent,
            unreadable,
            losses,
            lost_alone,
            started_at,
            tx.now,
            rules::prune_at(keep, tx.now),
            to.error,
            output.map(|output| output.codec),
            output.map(|output| &*output.bytes),
            output_error.map(rules::storable_error)
        ],
    )?;
    Ok(())
}

/// The lane in which a task waits that comes back with these counters.
fn lane_after(tx: &mut Transaction<'_>, task: &Task, counters: &Counters) -> rusqlite::Result<i64> {
    let lane = tx.lanes.get(task.place.lane).cloned();
    match lane {
        Some(lane) if lane.suspect != counters.suspect() => {
            tx.lane_number(Lane { suspect: counters.suspect(), ..Lane::clone(&lane) })
        }
        _ => Ok(task.place.lane),
    }
}

fn write_down(
    tx: &Transaction<'_>,
    task: &Task,
    attempt: &AttemptRecord,
    began: i64,
) -> rusqlite::Result<()> {
    let AttemptRecord { node, binary, end, error, fingerprint } = rules::storable_attempt(attempt);
    let id = task.place.id.as_uuid().as_bytes();
    let tries = task.counters.spent.saturating_add(1);
    tx.execute(
        WRITE_DOWN,
        params![
            id,
            task.lease.cast_signed(),
            tries,
            node.as_bytes(),
            binary,
            began,
            tx.now,
            end_number(end),
            error,
            fingerprint.map(u64::cast_signed)
        ],
    )?;
    let kept = i64::try_from(ATTEMPTS_KEPT).unwrap_or(i64::MAX);
    // Each attempt has a lease of its own, so before that many leases there cannot be too many.
    if task.lease > ATTEMPTS_KEPT as u64 {
        tx.execute(DROP_OLDEST, params![id, kept])?;
    }
    Ok(())
}
