//! A schedule on its way into storage: which tasks to make, again and again, under which key.

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    body::Body,
    bounds::TAGS_MAX,
    declared::{Declaration, said},
    dispatch::Dispatch,
    error::DispatchError,
    handler::Handler,
    registry::Entry,
    runtime::{Runtime, ScheduleInfo, Shared},
    schedule::{IntoSchedule, Schedule, ScheduleError},
    storage::{Due, NewTask, ScheduleRow, StoredSchedule},
    tick::{
        FORMAT, Missed, Overlap, Record, ScheduleState, Template, instant, micros, millis, number,
    },
};

/// When a series begins.
#[derive(Debug, Clone, Copy)]
enum Start {
    /// With the first instant of the schedule from now on.
    Next,
    /// At once, and then as the schedule says.
    Now,
    After(Duration),
    At(SystemTime),
}

/// A schedule that is about to be stored. Awaiting it stores it; from then on its ticks make tasks, each tick one, however many
/// nodes there are.
///
/// Storing it again under the same key is no second one: payload, rule and options are taken over at once, while its runs go on
/// being counted and, if the rule is the same, its next tick stays. So it can be said at each start of the program. A schedule
/// that is paused stays paused, and one that was cancelled stays so unless it is [revived](Self::revive).
///
/// ```
/// # async fn doc() -> Result<(), evertask::DispatchError> {
/// use evertask::schedule::every_day;
///
/// #[evertask::handler]
/// async fn report(format: String) {}
///
/// let daily = every_day().at("09:00").tz("Europe/Rome");
/// report::dispatch("PDF").every(daily).key("daily-report").await?;
/// report::dispatch("CSV").cron("0 */2 * * 1-5").key("office-hours").max_runs(100).await?;
/// # Ok(()) }
/// ```
#[must_use = "a schedule does nothing until it is awaited"]
pub struct Recurring<T> {
    dispatch: Dispatch<T>,
    schedule: Result<Schedule, ScheduleError>,
    start: Start,
    until: Option<SystemTime>,
    max_runs: Option<u64>,
    spread: Duration,
    missed: Missed,
    overlap: Overlap,
    revive: bool,
}

impl<T: Handler> Dispatch<T> {
    /// Again and again, as this schedule says: [`every_day().at("09:00")`](crate::schedule), a cron expression that was parsed, or
    /// a `Duration`. Give it a [`key`](Recurring::key).
    pub fn every(self, schedule: impl IntoSchedule) -> Recurring<T> {
        Recurring::new(self, schedule.into_schedule())
    }

    /// Again and again, as this cron expression says: 5, 6 or 7 fields, as a Unix user means them, in UTC unless
    /// [`tz`](Recurring::tz) says otherwise.
    pub fn cron(self, expression: &str) -> Recurring<T> {
        Recurring::new(self, crate::schedule::cron(expression))
    }
}

impl<T: Handler> Recurring<T> {
    fn new(dispatch: Dispatch<T>, schedule: Result<Schedule, ScheduleError>) -> Self {
        Self {
            dispatch,
            schedule,
            start: Start::Next,
            until: None,
            max_runs: None,
            spread: Duration::ZERO,
            missed: Missed::default(),
            overlap: Overlap::default(),
            revive: false,
        }
    }

    /// Its name among the schedules of the handler, at most 200 characters. It is needed: without it, each start of a program
    /// would store one more.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.dispatch = self.dispatch.key(key);
        self
    }

    /// By the wall clocks of this zone, such as `Europe/Rome`.
    pub fn tz(mut self, zone: &str) -> Self {
        self.schedule = self.schedule.and_then(|schedule| schedule.tz(zone));
        self
    }

    /// A first run at once, which is not one of the schedule's own instants, and then as the schedule says.
    pub fn start_now(mut self) -> Self {
        self.start = Start::Now;
        self
    }

    /// Not before this long from now, by the storage's clock; the same as [`after`](Dispatch::after) before it.
    pub fn start_after(mut self, delay: Duration) -> Self {
        self.start = Start::After(delay);
        self
    }

    /// Not before this instant; the same as [`at`](Dispatch::at) before it.
    pub fn start_at(mut self, at: impl Into<SystemTime>) -> Self {
        self.start = Start::At(at.into());
        self
    }

    /// Only ticks before this instant.
    pub fn until(mut self, end: impl Into<SystemTime>) -> Self {
        self.until = Some(end.into());
        self
    }

    /// At most so many tasks. Ticks that make none do not count.
    pub fn max_runs(mut self, runs: u64) -> Self {
        self.max_runs = Some(runs);
        self
    }

    /// Later than the schedule says by a fixed time of less than this, another one for each schedule: so that a thousand of them
    /// do not come up in one moment. [`scheduled_for`](crate::Context::scheduled_for) stays the schedule's instant.
    pub fn spread(mut self, over: Duration) -> Self {
        self.spread = over;
        self
    }

    /// What becomes of ticks while no node lives: [`Missed::Skip`] unless said otherwise.
    pub fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// What becomes of a tick while the task of the one before is not done: [`Overlap::Skip`] unless said otherwise.
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = overlap;
        self
    }

    /// Should it be stored already and be over or cancelled, it begins anew: its runs are counted from none, and its start is as said.
    pub fn revive(mut self) -> Self {
        self.revive = true;
        self
    }

    /// On this runtime, and not the one found by itself.
    pub fn on(mut self, runtime: &Runtime) -> Self {
        self.dispatch = self.dispatch.on(runtime);
        self
    }

    async fn store(self) -> Result<ScheduleInfo, DispatchError> {
        let (runtime, wish) = self.prepare()?;
        runtime.put_schedule(wish).await
    }

    fn prepare(self) -> Result<(Arc<Shared>, Wish), DispatchError> {
        let Self { dispatch, schedule, start, until, max_runs, spread, missed, overlap, revive } =
            self;
        let schedule = schedule?;
        let (runtime, task) = dispatch.prepare()?;
        let Some(key) = task.key.clone() else { return Err(DispatchError::ScheduleWithoutKey) };
        // One more that says which schedule made them.
        let (given, max) = (task.tags.len(), TAGS_MAX - 1);
        if given > max {
            return Err(DispatchError::TooManyTags { given, max });
        }
        if max_runs == Some(0) {
            return Err(DispatchError::NeverRuns { why: "at most 0 runs" });
        }
        let start = match (start, task.due) {
            (Start::Next, Due::After(delay)) => Start::After(delay),
            (Start::Next, Due::At(at)) => Start::At(at),
            (start, _) => start,
        };
        let offset = offset(&task, &key, spread);
        let wish = Wish {
            task,
            key,
            schedule,
            start,
            until,
            max_runs,
            offset,
            missed,
            overlap,
            revive,
            declared: None,
        };
        Ok((runtime, wish))
    }
}

/// The same for one schedule on every node and at every start.
fn offset(task: &NewTask, key: &str, spread: Duration) -> Duration {
    Duration::from_millis(number(0, &[&task.name, key]) % millis(spread).max(1))
}

/// A schedule as it was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    task: NewTask,
    key: String,
    schedule: Schedule,
    start: Start,
    until: Option<SystemTime>,
    max_runs: Option<u64>,
    offset: Duration,
    missed: Missed,
    overlap: Overlap,
    revive: bool,
    declared: Option<Declaration>,
}

impl Wish {
    /// What the attribute of a handler declares, under one of its names, which is the key, too.
    pub(crate) fn declared(entry: &Entry, name: &Arc<str>, schedule: Schedule) -> Self {
        let options = &entry.def.options;
        let task = NewTask {
            version: options.version,
            queue: entry.queue.clone(),
            priority: options.priority,
            ..NewTask::new(Arc::clone(name), Body { codec: Body::JSON, bytes: b"{}"[..].into() })
        };
        Self {
            task,
            key: name.to_string(),
            schedule,
            start: Start::Next,
            until: None,
            max_runs: None,
            offset: Duration::ZERO,
            missed: Missed::default(),
            overlap: Overlap::default(),
            revive: false,
            declared: Some(Declaration::default()),
        }
    }

    /// The same, with what is remembered of what was declared before.
    pub(crate) fn with(&self, declaration: Declaration) -> Self {
        Self { declared: Some(declaration), ..self.clone() }
    }

    /// What it says, to be compared with other declarations.
    pub(crate) fn said(&self) -> String {
        said(&self.schedule.to_wire(), &Template::of(&self.task, &self.key))
    }

    pub(crate) fn identity(&self) -> (String, String) {
        (self.task.name.to_string(), self.key.clone())
    }

    /// What is to be stored, beside what is; `None` if that is it already.
    pub(crate) fn row(
        &self,
        was: Option<&StoredSchedule>,
        now: SystemTime,
    ) -> Result<Option<ScheduleRow>, DispatchError> {
        let Self { task, key, schedule, start, until, max_runs, offset, missed, overlap, .. } =
            self;
        if was.is_some_and(|was| was.row.format > FORMAT) {
            let why = "the one that is stored was written by a newer program; use that one";
            return Err(self.refused(why));
        }
        let old = was.and_then(|was| Record::read(&was.row).ok());
        let declared = old.as_ref().and_then(|old| old.declared.as_ref());
        if self.declared.is_none() && declared.is_some_and(|declared| !declared.nowhere) {
            let why = "its handler's attribute declares it; change it there, or take another key";
            return Err(self.refused(why));
        }
        let unknown = old.as_ref().map(|old| old.unknown.clone()).unwrap_or_default();
        let old = old.filter(|old| !(self.revive && old.is_over()));
        // A series that has come to its end may be said again at each start of the program.
        let begins = was.is_none() || (self.revive && old.is_none());
        if begins && until.is_some_and(|until| until <= now) {
            return Err(DispatchError::NeverRuns { why: "`until` has passed" });
        }
        let rule = schedule.to_wire();
        let same = old.as_ref().filter(|old| old.rule == rule);
        let mut record = Record {
            state: match &old {
                Some(Record { state: ScheduleState::Paused, .. }) => ScheduleState::Paused,
                Some(Record { state: ScheduleState::Cancelled, .. }) => ScheduleState::Cancelled,
                _ => ScheduleState::Active,
            },
            missed: *missed,
            overlap: *overlap,
            until: until.map(micros),
            max_runs: *max_runs,
            offset: millis(*offset),
            runs: old.as_ref().map_or(0, |old| old.runs),
            tick: None,
            held: same.and_then(|old| old.held).filter(|_| *overlap == Overlap::QueueOne),
            declared: self.declared.clone(),
            task: Template::of(task, key),
            rule: rule.clone(),
            unknown,
        };
        let first = match (*start, &old) {
            // A start is said of a series that begins, not of one that goes on.
            (Start::Now, None) => Some(now),
            (Start::After(delay), None) => first_from(schedule, now + delay),
            (Start::At(at), None) => first_from(schedule, at.max(now)),
            _ => schedule.next(now),
        };
        let kept = same.and_then(|old| old.tick).map(instant);
        record.goes_on_at(kept.or(first));
        if record.tick.is_none() && begins {
            return Err(DispatchError::NeverRuns { why: "it has no instant before its end" });
        }
        if old.as_ref() == Some(&record) {
            return Ok(None);
        }
        let empty = ScheduleRow::new(task.name.clone(), key.as_str(), task.payload.clone());
        let row = was.map_or(empty, |was| was.row.clone());
        record.write(&row).map(Some).map_err(|why| self.refused(&why))
    }

    fn refused(&self, why: &str) -> DispatchError {
        let (name, key) = self.identity();
        DispatchError::BadSchedule { name, key, why: why.to_owned() }
    }
}

/// The first instant that is not before this one.
fn first_from(schedule: &Schedule, at: SystemTime) -> Option<SystemTime> {
    schedule.next(at.checked_sub(Duration::from_millis(1))?)
}

impl<T> fmt::Debug for Recurring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recurring").field("schedule", &self.schedule).finish_non_exhaustive()
    }
}

impl<T: Handler> IntoFuture for Recurring<T> {
    type Output = Result<ScheduleInfo, DispatchError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.store())
    }
}
