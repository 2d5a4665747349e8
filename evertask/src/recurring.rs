//! A schedule on its way into storage: which tasks to make, again and again, under which key.

use std::{
    fmt,
    future::{Future, IntoFuture},
    hash::{DefaultHasher, Hash, Hasher},
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    bounds::TAGS_MAX,
    dispatch::Dispatch,
    error::DispatchError,
    handler::Handler,
    runtime::{Runtime, ScheduleInfo, Shared},
    schedule::{IntoSchedule, Schedule, ScheduleError},
    storage::{Due, NewTask, ScheduleRow, StoredSchedule},
    tick::{Missed, Overlap, Record, ScheduleState, Template, instant, micros, millis},
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
/// that is paused stays paused.
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
        let Self { dispatch, schedule, start, until, max_runs, spread, missed, overlap } = self;
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
        let wish = Wish { task, key, schedule, start, until, max_runs, offset, missed, overlap };
        Ok((runtime, wish))
    }
}

/// The same for one schedule on every node and at every start.
fn offset(task: &NewTask, key: &str, spread: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    (&*task.name, key).hash(&mut hasher);
    let over = millis(spread).max(1);
    Duration::from_millis(hasher.finish() % over)
}

/// A schedule as it was asked for.
#[derive(Debug)]
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
}

impl Wish {
    pub(crate) fn identity(&self) -> (String, String) {
        (self.task.name.to_string(), self.key.clone())
    }

    /// What is to be stored, beside what is; `None` if that is it already.
    pub(crate) fn row(
        &self,
        was: Option<&StoredSchedule>,
        now: SystemTime,
    ) -> Result<Option<ScheduleRow>, DispatchError> {
        let Self { task, key, schedule, start, until, max_runs, offset, missed, overlap } = self;
        // A series that has come to its end may be said again at each start of the program.
        if was.is_none() && until.is_some_and(|until| until <= now) {
            return Err(DispatchError::NeverRuns { why: "`until` has passed" });
        }
        let old = was.and_then(|was| Record::read(&was.row).ok());
        let rule = schedule.to_wire();
        let same_rule = old.as_ref().is_some_and(|old| old.rule == rule);
        let mut record = Record {
            rule,
            state: match &old {
                Some(Record { state: ScheduleState::Paused, .. }) => ScheduleState::Paused,
                _ => ScheduleState::Active,
            },
            missed: *missed,
            overlap: *overlap,
            until: until.map(micros),
            max_runs: *max_runs,
            offset: millis(*offset),
            runs: old.as_ref().map_or(0, |old| old.runs),
            tick: None,
            task: Template::of(task, key),
        };
        let first = match (*start, &old) {
            // A start is said of a series that begins, not of one that goes on.
            (Start::Now, None) => Some(now),
            (Start::After(delay), None) => first_from(schedule, now + delay),
            (Start::At(at), None) => first_from(schedule, at.max(now)),
            _ => schedule.next(now),
        };
        let kept = old.as_ref().filter(|_| same_rule).and_then(|old| old.tick).map(instant);
        record.goes_on_at(kept.or(first));
        if record.tick.is_none() && was.is_none() {
            return Err(DispatchError::NeverRuns { why: "it has no instant before its end" });
        }
        if old.as_ref() == Some(&record) {
            return Ok(None);
        }
        let empty = ScheduleRow::new(task.name.clone(), key.as_str(), task.payload.clone());
        let row = was.map_or(empty, |was| was.row.clone());
        let written = record
            .write(&row)
            .map_err(|why| DispatchError::BadSchedule { name: task.name.to_string(), why })?;
        Ok(Some(written))
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
