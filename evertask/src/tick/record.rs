//! What is stored of a schedule in its body, and how its next tick is found.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{FORMAT, Missed, Overlap, SCHEDULE_TAG};
use crate::{
    body::Body,
    declared::{Declaration, said},
    schedule::{Schedule, ScheduleError},
    storage::{Due, NewTask, ScheduleRow},
    task::TaskId,
};

/// Whether a schedule makes tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScheduleState {
    /// It does.
    Active,
    /// Not until it is resumed.
    Paused,
    /// It was cancelled, and stays so when it is stored again, unless it is [revived](crate::Recurring::revive).
    Cancelled,
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
    /// How many ticks made no task, of those that were counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) skipped: u64,
    /// It begins with the first tick that is not before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) start: Option<u64>,
    /// Its next tick, as the rule says it.
    #[serde(default)]
    pub(crate) tick: Option<u64>,
    /// The tick that waits for the end of the task before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<Held>,
    /// What its handler's attribute says, if that is where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) declared: Option<Declaration>,
    pub(crate) task: Template,
    /// What a newer program wrote and this one does not know: it goes on as it came.
    #[serde(flatten)]
    pub(crate) unknown: serde_json::Map<String, serde_json::Value>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A tick that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) tick: u64,
    /// When to look again whether it still has to.
    pub(crate) again: u64,
}

/// What the tasks of a schedule have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Template {
    pub(crate) version: u32,
    pub(crate) queue: String,
    pub(crate) priority: i16,
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
    pub(crate) fn task(&self, name: &Arc<str>, tick: SystemTime, due: Due) -> NewTask {
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

/// A number for texts, the same on every node and in every release.
pub(crate) fn number(seed: u64, texts: &[&str]) -> u64 {
    // FNV-1a, 64 bits; std's hasher promises no such thing. The 0xFF stands in no text.
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0xFF]));
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    // Its last bits alone are no good: each would only tell of the last bits of what came in.
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325 ^ seed, mix);
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

/// The id of the task by which a tick is made up for. Its time is that of the tick.
fn id_of(row: &ScheduleRow, tick: SystemTime) -> TaskId {
    let number = |seed| number(seed ^ micros(tick), &[&row.name, &row.key]).to_be_bytes();
    let mut random = [0; 10];
    random[..8].copy_from_slice(&number(0));
    random[8..].copy_from_slice(&number(1)[..2]);
    let id = uuid::Builder::from_unix_timestamp_millis(micros(tick) / 1000, &random);
    TaskId::from_uuid(id.into_uuid())
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn micros(at: SystemTime) -> u64 {
    let micros = |since: Duration| u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    at.duration_since(UNIX_EPOCH).map_or(0, micros)
}

pub(crate) fn instant(micros: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(micros)
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

    /// What it says, to be compared with what attributes declare.
    pub(crate) fn said(&self) -> String {
        said(&self.rule, &self.task, (self.missed, self.overlap, self.offset))
    }

    /// The instant whose ticks come up now: what comes later by an offset is seen as if the clock were that much earlier.
    pub(crate) fn seen(&self, now: SystemTime) -> SystemTime {
        now.checked_sub(self.offset()).unwrap_or(UNIX_EPOCH)
    }

    /// Whether any of its ticks has come up.
    pub(crate) fn has_begun(&self) -> bool {
        self.runs > 0 || self.skipped > 0 || self.held.is_some()
    }

    /// Its first instant that is later than this one and not before its start, where that still counts.
    pub(crate) fn first_after(&self, schedule: &Schedule, after: SystemTime) -> Option<SystemTime> {
        let start = self.start.filter(|_| !self.has_begun()).map(instant);
        match start.filter(|start| *start > after) {
            Some(start) => schedule.next(start.checked_sub(Duration::from_millis(1))?),
            None => schedule.next(after),
        }
    }

    /// Ticks that wait behind the one that does, as they were missed or came up meanwhile.
    fn is_line(&self) -> bool {
        self.overlap == Overlap::QueueOne && matches!(self.missed, Missed::All(_))
    }

    /// Programs that know only the first format would drop a tick that waits for these reasons.
    fn format(&self) -> u32 {
        let new = self.is_line() || self.overlap == Overlap::CancelPrevious;
        if self.held.is_some() && new { FORMAT } else { 1 }
    }

    /// The row with this record in it, which comes up when the record says.
    pub(crate) fn write(&self, row: &ScheduleRow) -> Result<ScheduleRow, String> {
        let active = self.state == ScheduleState::Active;
        let in_line = self.held.is_some() && self.is_line();
        let tick = self.tick.filter(|_| !in_line).map(|tick| instant(tick) + self.offset());
        let again = self.held.map(|held| instant(held.again));
        let next = tick.into_iter().chain(again).min().filter(|_| active);
        let body = Body::json(self).map_err(|error| error.to_string())?;
        Ok(ScheduleRow { next, format: self.format(), body, ..row.clone() })
    }

    /// It makes no tasks any more, and may be revived.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, ScheduleState::Ended | ScheduleState::Cancelled)
    }

    /// Sets the next tick; at the end of its time or of its runs there is none.
    pub(crate) fn goes_on_at(&mut self, next: Option<SystemTime>) {
        let next = next.map(micros).filter(|tick| self.until.is_none_or(|until| *tick < until));
        let runs = self.runs.saturating_add(self.held.is_some().into());
        self.tick = next.filter(|_| self.max_runs.is_none_or(|max| runs < max));
        if self.tick.is_none() && self.held.is_none() && self.state == ScheduleState::Active {
            self.state = ScheduleState::Ended;
        }
    }

    /// The task of a tick that is made up for: always the same for the same tick, so that it is stored once.
    pub(crate) fn made_up(&self, row: &ScheduleRow, tick: SystemTime) -> NewTask {
        NewTask { id: id_of(row, tick), ..self.task.task(&row.name, tick, Due::Now) }
    }

    /// The task of a run out of turn.
    pub(crate) fn run_now(&self, name: &Arc<str>, now: SystemTime) -> NewTask {
        self.task.task(name, now, Due::Now)
    }
}
