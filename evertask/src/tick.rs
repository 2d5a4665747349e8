//! What a schedule comes to when it comes up: which of its ticks make tasks, and when it comes up next. Pure, as `judge` is.

use std::{
    fmt, iter,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

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
pub(crate) const FORMAT: u32 = 2;
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
    /// However many there are, one task is made, for the last that has come up. Those of the last minute are among them if any
    /// was missed before; if none was, they are not missed but late, and each makes its task as far as [`Overlap`] lets it.
    Once,
    /// Each that lies within this time makes its task: all at once with [`Overlap::Allow`], one after the other with
    /// [`Overlap::QueueOne`]. With the other two it is refused, since of those that come up together all but one would be
    /// left out.
    All(Duration),
}

/// What becomes of a tick while the task of the one before is not done. A task that waits for its retry is not done either: with
/// ten retries over up to 17 minutes, as they are by default, a task that fails holds up the ticks of a quarter of an hour. Give
/// the handler of a schedule fewer `retries`, or none, where the next tick is as good as a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Overlap {
    /// It makes no task, and counts as no run.
    #[default]
    Skip,
    /// It makes its task all the same.
    Allow,
    /// It cancels that task, and makes its own when that one has ended, which may take its grace. Of those that come up meanwhile
    /// the last does.
    CancelPrevious,
    /// It waits, and makes its task when that one is done. One waits; those that come up meanwhile make none, unless
    /// [`Missed::All`] lets them wait in line, as long as they lie within its time.
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
    /// The task of the tick before is to be cancelled, once this is stored.
    pub(crate) cancel: Option<TaskId>,
    /// Ticks that made no task.
    pub(crate) skipped: Skipped,
    /// The task before is still at work, and a tick waits for its end; after this time it is looked at again anyhow.
    pub(crate) waits_for: Option<(TaskId, Duration)>,
}

impl Turn {
    /// It makes nothing, and this is stored of it.
    pub(crate) fn only(row: ScheduleRow) -> Self {
        Self { row, tasks: Vec::new(), cancel: None, skipped: Skipped::default(), waits_for: None }
    }
}

/// Ticks that made no task, by the reason why. What is many is only counted so far, so that ten years of them cost no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Skipped {
    /// Nobody took them in time.
    missed: usize,
    /// The task of the tick before was not done, or was made with them.
    overlapped: usize,
}

/// How far ticks that make no task are counted, of each reason in one go.
const COUNTED: usize = 100;

impl Skipped {
    pub(crate) fn none(self) -> bool {
        self == Self::default()
    }

    fn sum(self) -> u64 {
        (self.missed + self.overlapped) as u64
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |n: usize| match n > COUNTED {
            true => format!("more than {COUNTED}"),
            false => n.to_string(),
        };
        let Self { missed, overlapped } = *self;
        let and = if missed > 0 && overlapped > 0 { "; " } else { "" };
        if missed > 0 {
            write!(f, "{}, as no node took them in time{and}", count(missed))?;
        }
        if overlapped > 0 {
            write!(f, "{}, as the task before is not done", count(overlapped))?;
        }
        Ok(())
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
    let seen = record.seen(now);
    let came = record.tick.map(instant).filter(|tick| *tick <= seen);
    if came.is_none() && record.held.is_none() {
        return Err("it came up without a tick".to_owned().into());
    }
    let came = came.map(|tick| Came::until(&record, &schedule, tick, seen));
    let live = last.is_some_and(|state| !state.is_final());
    let mut chosen = choose(&mut record, came.as_ref(), live, now);
    if let Some(max) = record.max_runs {
        let left = usize::try_from(max.saturating_sub(record.runs)).unwrap_or(usize::MAX);
        chosen.ticks.truncate(left);
        record.held = record.held.filter(|_| chosen.ticks.len() < left);
    }
    let make = |tick: &SystemTime| record.task.task(&row.name, *tick, Due::Now);
    let tasks: Vec<NewTask> = chosen.ticks.iter().map(make).collect();
    record.runs = record.runs.saturating_add(tasks.len() as u64);
    record.skipped = record.skipped.saturating_add(chosen.skipped.sum());
    // What did not come up is still to come.
    record.goes_on_at(if came.is_some() { chosen.next } else { record.tick.map(instant) });
    let cancels = record.overlap == Overlap::CancelPrevious && record.held.is_some();
    let cancel = row.last.filter(|_| live && cancels);
    let last = tasks.last().map(|task| task.id).or(row.last);
    let again = record.held.map(|held| instant(held.again).duration_since(now).unwrap_or_default());
    let waits_for = last.zip(again);
    let row = record.write(&ScheduleRow { last, ..row.clone() })?;
    Ok(Turn { row, tasks, cancel, skipped: chosen.skipped, waits_for })
}

/// What is made of the ticks that have come up.
struct Chosen {
    ticks: Vec<SystemTime>,
    skipped: Skipped,
    next: Option<SystemTime>,
}

/// Which ticks make tasks, and which one waits. Only those are looked at that may; the others are stepped over.
fn choose(record: &mut Record, came: Option<&Came<'_>>, live: bool, now: SystemTime) -> Chosen {
    let held = record.held.take().map(|held| instant(held.tick));
    let missed = came.map_or(0, Came::missed);
    let mut ticks = Vec::new();
    let mut overlapped = 0;
    let mut next = came.and_then(|came| came.schedule.next(came.seen));
    match record.overlap {
        Overlap::Allow => {
            let most = |came: &Came<'_>| came.timely().take(AT_ONCE).collect();
            ticks = came.map(most).unwrap_or_default();
            overlapped += usize::from(held.is_some());
            // The others right after.
            if let (AT_ONCE, Some(came), Some(last)) = (ticks.len(), came, ticks.last()) {
                next = came.schedule.next(*last);
            }
        }
        Overlap::Skip => {
            let mut timely = came.into_iter().flat_map(Came::timely).take(COUNTED + 1);
            let first = timely.next();
            overlapped += usize::from(live && first.is_some()) + timely.count();
            overlapped += usize::from(held.is_some());
            ticks.extend(first.filter(|_| !live));
        }
        Overlap::CancelPrevious => {
            let newest = came.and_then(Came::last);
            let before = came.into_iter().flat_map(Came::timely);
            let before = before.take_while(|tick| Some(*tick) < newest).take(COUNTED + 1);
            overlapped += before.count() + usize::from(newest.is_some() && held.is_some());
            match newest.or(held) {
                Some(tick) if live => record.held = Some(held_from(tick, now)),
                newest => ticks.extend(newest),
            }
        }
        Overlap::QueueOne => {
            let timely = came.into_iter().flat_map(Came::timely);
            let mut line = held.into_iter().chain(timely);
            ticks.extend(line.by_ref().take(usize::from(!live)));
            record.held = line.next().map(|tick| held_from(tick, now));
            match record.missed {
                // They wait in line where they stand, in the schedule.
                Missed::All(_) => next = line.next().or(next),
                _ => overlapped += line.take(COUNTED + 1).count(),
            }
        }
    }
    Chosen { ticks, skipped: Skipped { missed, overlapped }, next }
}

/// The stretch of a schedule that has come up.
struct Came<'a> {
    schedule: &'a Schedule,
    /// The first of it. It need not belong to the rule: a start that was said does not.
    tick: SystemTime,
    /// What is earlier was missed.
    from: SystemTime,
    /// What is later has not come up,
    seen: SystemTime,
    /// and this or later neither, or is beyond its end.
    over: SystemTime,
}

impl<'a> Came<'a> {
    fn until(record: &Record, schedule: &'a Schedule, tick: SystemTime, seen: SystemTime) -> Self {
        let over = seen + Duration::from_micros(1);
        let over = record.until.map_or(over, |until| over.min(instant(until)));
        let window = match record.missed {
            Missed::Skip | Missed::Once => ON_TIME,
            Missed::All(window) => window.max(ON_TIME),
        };
        let mut from = seen.checked_sub(window).unwrap_or(UNIX_EPOCH);
        if record.missed == Missed::Once && tick < from && tick < over {
            // The last one is made up for, as if it alone were in time.
            from = schedule.previous(over).map_or(tick, |last| last.max(tick));
        }
        Self { schedule, tick, from, seen, over }
    }

    /// The ticks of it from this instant on.
    fn ticks(&self, from: SystemTime) -> impl Iterator<Item = SystemTime> + use<'a> {
        let (schedule, over) = (self.schedule, self.over);
        let first = Some(self.tick).filter(|tick| *tick >= from);
        let after = self.tick.max(from.checked_sub(Duration::from_millis(1)).unwrap_or(from));
        let first = first.or_else(|| schedule.next(after));
        let all = iter::successors(first, move |last| schedule.next(*last));
        all.take_while(move |tick| *tick < over)
    }

    /// Those that are not missed.
    fn timely(&self) -> impl Iterator<Item = SystemTime> + use<'a> {
        self.ticks(self.from)
    }

    /// The last of those.
    fn last(&self) -> Option<SystemTime> {
        let last = self.schedule.previous(self.over).map_or(self.tick, |last| last.max(self.tick));
        Some(last).filter(|last| *last >= self.from && *last < self.over)
    }

    /// How many are missed, as far as they are counted.
    fn missed(&self) -> usize {
        let missed = self.ticks(self.tick).take_while(|tick| *tick < self.from);
        missed.take(COUNTED + 1).count()
    }
}

/// A tick that waits, and when it is looked at again should nobody tell.
fn held_from(tick: SystemTime, now: SystemTime) -> Held {
    let waited = now.duration_since(tick).unwrap_or_default();
    let again = waited.clamp(AGAIN[0], AGAIN[1]);
    Held { tick: micros(tick), again: micros(now + again) }
}
