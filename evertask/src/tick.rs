//! What a schedule comes to when it comes up: which of its ticks make tasks, and when it comes up next. Pure, as `judge` is.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{
    body::Body,
    schedule::{Schedule, ScheduleError},
    storage::{Due, NewTask, ScheduleRow},
    task::{TaskId, TaskState},
};

/// The format of [`Record`], the stored line of its schedule included. A program leaves schedules in a later one to those that
/// know it.
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
}

/// Whether a schedule makes tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScheduleState {
    /// It does.
    Active,
    /// Not until it is resumed.
    Paused,
    /// It came to its end: its runs are made, its time is over, or its rule has no more instants.
    Ended,
    /// What is stored of it cannot be read: why.
    Broken(String),
}

/// All that is stored of a schedule in its body. Instants are microseconds since 1970, durations milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The stored line of the schedule.
    pub(crate) rule: String,
    pub(crate) state: ScheduleState,
    #[serde(default)]
    pub(crate) missed: Missed,
    #[serde(default)]
    pub(crate) overlap: Overlap,
    #[serde(default)]
    pub(crate) until: Option<u64>,
    #[serde(default)]
    pub(crate) max_runs: Option<u64>,
    /// How much later than its instants it comes up, against stampedes.
    #[serde(default)]
    pub(crate) offset: u64,
    #[serde(default)]
    pub(crate) runs: u64,
    /// Its next tick, as the rule says it.
    #[serde(default)]
    pub(crate) tick: Option<u64>,
    pub(crate) task: Template,
}

/// What the tasks of a schedule have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Template {
    version: u32,
    queue: String,
    priority: i16,
    codec: u16,
    payload: String,
    #[serde(default)]
    expires: Option<u64>,
    #[serde(default)]
    retries: Option<u32>,
    /// `Some(None)` = none at all.
    #[serde(default, with = "maybe_none")]
    timeout: Option<Option<u64>>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

/// JSON has one null; this tells "not said" from "none".
mod maybe_none {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        value: &Option<Option<u64>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.map_or(Vec::new(), |value| vec![value]).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Option<u64>>, D::Error> {
        Ok(Vec::<Option<u64>>::deserialize(from)?.first().copied())
    }
}

impl Template {
    pub(crate) fn of(task: &NewTask, key: &str) -> Self {
        let mut tags = task.tags.clone();
        tags.insert(SCHEDULE_TAG.to_owned(), key.to_owned());
        Self {
            version: task.version,
            queue: task.queue.to_string(),
            priority: task.priority,
            codec: task.payload.codec,
            // What is dispatched is written as JSON, which is text.
            payload: task.payload.as_str().unwrap_or_default().to_owned(),
            expires: task.expires.map(millis),
            retries: task.retries,
            timeout: task.timeout.map(|timeout| timeout.map(millis)),
            tags,
        }
    }

    /// The task of one tick.
    fn task(&self, name: &Arc<str>, tick: SystemTime, due: Due) -> NewTask {
        let payload = Body { codec: self.codec, bytes: self.payload.as_bytes().into() };
        let span = Duration::from_millis;
        NewTask {
            version: self.version,
            queue: self.queue.as_str().into(),
            priority: self.priority,
            due,
            expires: self.expires.map(span),
            retries: self.retries,
            timeout: self.timeout.map(|timeout| timeout.map(span)),
            tags: self.tags.clone(),
            tick: Some(tick),
            ..NewTask::new(name.clone(), payload)
        }
    }
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn micros(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0))
}

pub(crate) fn instant(micros: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(micros)
}

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
}

impl Record {
    pub(crate) fn read(row: &ScheduleRow) -> Result<Self, String> {
        row.body.read::<Self>().map_err(|error| error.to_string())
    }

    pub(crate) fn schedule(&self) -> Result<Schedule, ScheduleError> {
        Schedule::from_wire(&self.rule)
    }

    pub(crate) fn offset(&self) -> Duration {
        Duration::from_millis(self.offset)
    }

    /// The row with this record in it, which comes up when the record says.
    pub(crate) fn write(&self, row: &ScheduleRow) -> Result<ScheduleRow, String> {
        let active = self.state == ScheduleState::Active;
        let next = self.tick.filter(|_| active).map(|tick| instant(tick) + self.offset());
        let body = Body::json(self).map_err(|error| error.to_string())?;
        Ok(ScheduleRow { next, format: FORMAT, body, ..row.clone() })
    }

    /// Sets the next tick; at the end of its time or of its runs there is none.
    pub(crate) fn goes_on_at(&mut self, next: Option<SystemTime>) {
        let next = next.map(micros).filter(|tick| self.until.is_none_or(|until| *tick < until));
        self.tick = next.filter(|_| self.max_runs.is_none_or(|max| self.runs < max));
        if self.tick.is_none() && self.state == ScheduleState::Active {
            self.state = ScheduleState::Ended;
        }
    }

    /// The task of a run out of turn.
    pub(crate) fn run_now(&self, name: &Arc<str>, now: SystemTime) -> NewTask {
        self.task.task(name, now, Due::Now)
    }
}

/// Decides what a schedule that has come up does now.
///
/// It costs the same however long nobody looked: what lies before the window of [`Missed`] is stepped over at once.
pub(crate) fn decide(row: &ScheduleRow, last: Option<TaskState>, now: SystemTime) -> Turn {
    match decided(row, last, now) {
        Ok(turn) => turn,
        Err(why) => broken(row, why),
    }
}

/// A schedule that cannot be read, set aside with the reason; what was stored of it stays for people to see.
pub(crate) fn broken(row: &ScheduleRow, why: String) -> Turn {
    let mut kept = ScheduleRow { next: None, ..row.clone() };
    if let Ok(mut record) = Record::read(row) {
        record.state = ScheduleState::Broken(why);
        if let Ok(written) = record.write(row) {
            kept = written;
        }
    }
    Turn { row: kept, tasks: Vec::new(), cancel: None, skipped: 0 }
}

fn decided(row: &ScheduleRow, last: Option<TaskState>, now: SystemTime) -> Result<Turn, String> {
    let mut record = Record::read(row)?;
    let schedule = record.schedule().map_err(|error| error.to_string())?;
    // What comes up later by an offset is seen as if the clock were that much earlier.
    let seen = now.checked_sub(record.offset()).unwrap_or(UNIX_EPOCH);
    let Some(tick) = record.tick.map(instant) else {
        return Err("it came up without a tick".to_owned());
    };
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
    let came = ticks.len();
    let live = last.is_some_and(|state| !state.is_final());
    let mut cancel = None;
    match record.overlap {
        Overlap::Allow => {}
        Overlap::Skip => ticks.truncate(usize::from(!live)),
        Overlap::CancelPrevious => {
            ticks = ticks.pop().into_iter().collect();
            cancel = row.last.filter(|_| live && !ticks.is_empty());
        }
    }
    if let Some(max) = record.max_runs {
        ticks.truncate(usize::try_from(max.saturating_sub(record.runs)).unwrap_or(usize::MAX));
    }
    let tasks: Vec<NewTask> =
        ticks.iter().map(|tick| record.task.task(&row.name, *tick, Due::Now)).collect();
    record.runs = record.runs.saturating_add(tasks.len() as u64);
    record.goes_on_at(next);
    let last = tasks.last().map(|task| task.id).or(row.last);
    let row = record.write(&ScheduleRow { last, ..row.clone() })?;
    Ok(Turn { row, skipped: (came - tasks.len()) as u64, tasks, cancel })
}
