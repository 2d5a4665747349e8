//! What a schedule comes to when it comes up: which of its ticks make tasks, and when it comes up next. Pure, as `judge` is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::{
    schedule::Schedule,
    storage::{Due, NewTask, ScheduleRow},
    task::{TaskId, TaskState},
};

mod record;

pub use self::record::ScheduleState;
pub(crate) use self::record::{Held, Record, Template, instant, micros, millis, number};

/// The format of [`Record`], the stored line of its schedule included. A program leaves schedules in a later one to those that
/// know it; whoever gives a word of it a new meaning raises this for the schedules that use it.
pub(crate) const FORMAT: u32 = 1;
/// A tick that is taken within this time was not missed, only late.
pub const ON_TIME: Duration = Duration::from_secs(60);
/// Most tasks that one schedule makes in one go; the rest of what it missed comes right after.
pub(crate) const AT_ONCE: usize = 100;
/// The tag by which the tasks of a schedule are found; its value is the schedule's key.
pub const SCHEDULE_TAG: &str = "evertask.schedule";

/// What becomes of ticks that nobody took in time, since no node lived that could.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Missed {
    /// They are gone, but for those of the last minute.
    #[default]
    Skip,
    /// However many there are, one task is made, for the last of them.
    Once,
    /// Each that lies within this time makes its task, as far as [`Overlap`] lets it: unless that is [`Overlap::Allow`], those
    /// that come up together count as overlapping.
    All(Duration),
}

/// What becomes of a tick while the task of the one before is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Overlap {
    /// It makes no task, and counts as no run.
    #[default]
    Skip,
    /// It makes its task all the same.
    Allow,
    /// It cancels that task, and makes its own.
    CancelPrevious,
    /// It waits, and makes its task when that one is done. One waits; those that come up meanwhile make none.
    QueueOne,
}

/// How soon it is looked at again what holds a tick, should nobody tell that the task before is done. Longer the longer it takes.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// A schedule that came up, decided.
#[derive(Debug)]
pub(crate) struct Turn {
    /// What is stored of it from now on.
    pub(crate) row: ScheduleRow,
    pub(crate) tasks: Vec<NewTask>,
    /// The task of the tick before is to be cancelled.
    pub(crate) cancel: Option<TaskId>,
    /// Ticks that made no task, as far as they were counted.
    pub(crate) skipped: u64,
    /// The task before is still at work, and a tick waits for its end; after this time it is looked at again anyhow.
    pub(crate) waits_for: Option<(TaskId, Duration)>,
}

impl Turn {
    /// It makes nothing, and this is stored of it.
    pub(crate) fn only(row: ScheduleRow) -> Self {
        Self { row, tasks: Vec::new(), cancel: None, skipped: 0, waits_for: None }
    }
}

/// Why a schedule cannot be decided on.
enum Unread {
    /// It is beyond this program; a newer one may read it.
    Here(String),
    /// It makes no sense.
    Anywhere(String),
}

impl From<String> for Unread {
    fn from(why: String) -> Self {
        Self::Anywhere(why)
    }
}

/// Decides what a schedule that has come up does now; an error says why this program has to leave it to a newer one.
///
/// It costs the same however long nobody looked: what lies before the window of [`Missed`] is stepped over at once.
pub(crate) fn decide(
    row: &ScheduleRow,
    last: Option<TaskState>,
    now: SystemTime,
) -> Result<Turn, String> {
    match decided(row, last, now) {
        Ok(turn) => Ok(turn),
        Err(Unread::Here(why)) => Err(why),
        Err(Unread::Anywhere(why)) => Ok(broken(row, why)),
    }
}

/// A schedule that makes no sense, set aside with the reason; what was stored of it stays for people to see.
pub(crate) fn broken(row: &ScheduleRow, why: String) -> Turn {
    let mut kept = ScheduleRow { next: None, ..row.clone() };
    if let Ok(mut record) = Record::read(row) {
        record.state = ScheduleState::Broken(why);
        if let Ok(written) = record.write(row) {
            kept = written;
        }
    }
    Turn::only(kept)
}

fn decided(row: &ScheduleRow, last: Option<TaskState>, now: SystemTime) -> Result<Turn, Unread> {
    let mut record = Record::read(row)?;
    let schedule = record.schedule().map_err(|error| match error.is_newer() {
        true => Unread::Here(error.to_string()),
        false => Unread::Anywhere(error.to_string()),
    })?;
    // What comes up later by an offset is seen as if the clock were that much earlier.
    let seen = now.checked_sub(record.offset()).unwrap_or(UNIX_EPOCH);
    let (mut ticks, next) = match record.tick.map(instant) {
        Some(tick) if tick <= seen => came_up(&record, &schedule, tick, seen),
        None if record.held.is_none() => {
            return Err("it came up without a tick".to_owned().into());
        }
        // It came up for the sake of the tick that waits.
        later => (Vec::new(), later),
    };
    let held = record.held.take();
    let came = ticks.len() + usize::from(held.is_some());
    let live = last.is_some_and(|state| !state.is_final());
    let mut cancel = None;
    match record.overlap {
        Overlap::Allow => {}
        Overlap::Skip => ticks.truncate(usize::from(!live)),
        Overlap::CancelPrevious => {
            ticks = ticks.pop().into_iter().collect();
            cancel = row.last.filter(|_| live && !ticks.is_empty());
        }
        Overlap::QueueOne => {
            let mut line = held.map(|held| instant(held.tick)).into_iter().chain(ticks);
            let first = line.by_ref().take(usize::from(!live)).collect();
            record.held = line.next().map(|tick| held_from(tick, now));
            ticks = first;
        }
    }
    if let Some(max) = record.max_runs {
        let left = usize::try_from(max.saturating_sub(record.runs)).unwrap_or(usize::MAX);
        ticks.truncate(left);
        record.held = record.held.filter(|_| ticks.len() < left);
    }
    let tasks: Vec<NewTask> =
        ticks.iter().map(|tick| record.task.task(&row.name, *tick, Due::Now)).collect();
    record.runs = record.runs.saturating_add(tasks.len() as u64);
    record.goes_on_at(next);
    let last = tasks.last().map(|task| task.id).or(row.last);
    let again = record.held.map(|held| instant(held.again).duration_since(now).unwrap_or_default());
    let waits_for = last.zip(again);
    let skipped = (came - tasks.len() - usize::from(record.held.is_some())) as u64;
    let row = record.write(&ScheduleRow { last, ..row.clone() })?;
    Ok(Turn { row, tasks, cancel, skipped, waits_for })
}

/// The ticks that have come up and are not missed, and the one that comes next.
fn came_up(
    record: &Record,
    schedule: &Schedule,
    tick: SystemTime,
    seen: SystemTime,
) -> (Vec<SystemTime>, Option<SystemTime>) {
    let window = match record.missed {
        Missed::Skip | Missed::Once => ON_TIME,
        Missed::All(window) => window.max(ON_TIME),
    };
    let from = seen.checked_sub(window).unwrap_or(UNIX_EPOCH);
    let mut ticks: Vec<SystemTime> = Vec::new();
    // The stored tick need not belong to the rule: a start that was said does not.
    if tick >= from {
        ticks.push(tick);
    }
    let mut next = schedule.next(tick.max(from - Duration::from_millis(1)));
    while let Some(at) = next.filter(|at| *at <= seen && ticks.len() < AT_ONCE) {
        ticks.push(at);
        next = schedule.next(at);
    }
    if ticks.is_empty() && record.missed == Missed::Once {
        ticks.push(schedule.previous(from).map_or(tick, |at| at.max(tick)));
    }
    if let Some(until) = record.until {
        ticks.retain(|at| micros(*at) < until);
    }
    (ticks, next)
}

/// A tick that waits, and when it is looked at again should nobody tell.
fn held_from(tick: SystemTime, now: SystemTime) -> Held {
    let waited = now.duration_since(tick).unwrap_or_default();
    let again = waited.clamp(AGAIN[0], AGAIN[1]);
    Held { tick: micros(tick), again: micros(now + again) }
}
