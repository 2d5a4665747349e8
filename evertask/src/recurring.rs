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
    bounds::{DELAY_MAX, SPREAD_MAX, TAGS_MAX},
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
    /// would store one more. A single task under the same key is another thing, and stays beside it.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.dispatch = self.dispatch.key(key);
        self
    }

    /// By the wall clocks of this zone, such as `Europe/Rome`.
    pub fn tz(mut self, zone: &str) -> Self {
        self.schedule = self.schedule.and_then(|schedule| schedule.tz(zone));
        self
    }

    /// A first run at once, which is not one of the schedule's own instants, and then as the schedule says. Its task is stored
    /// together with the schedule; a [`spread`](Self::spread) does not put it off.
    pub fn start_now(mut self) -> Self {
        self.start = Start::Now;
        self
    }

    /// Not before this long from now, by the storage's clock, at most 100 years; the same as [`after`](Dispatch::after) before
    /// it. It counts from when the schedule is stored first, and until its first tick has come up.
    pub fn start_after(mut self, delay: Duration) -> Self {
        self.start = Start::After(delay);
        self
    }

    /// Not before this instant; the same as [`at`](Dispatch::at) before it. Said again with another instant, that one counts as
    /// long as the first tick has not come up.
    ///
    /// Where a rule counts days, weeks or months and says [from where](crate::schedule::Schedule::anchored) by itself, it counts
    /// from here: `every(2).weeks().on(Fri)` has the week of its start in it. A fixed interval keeps its phase.
    pub fn start_at(mut self, at: impl Into<SystemTime>) -> Self {
        self.start = Start::At(at.into());
        self
    }

    /// Only ticks before this instant, which lies ahead.
    pub fn until(mut self, end: impl Into<SystemTime>) -> Self {
        self.until = Some(end.into());
        self
    }

    /// At most so many tasks. Ticks that make none do not count. A task that is made counts whatever becomes of it, also if it
    /// expires or is cancelled before it begins: the count is stored in the commit that stores the task, and never goes back.
    pub fn max_runs(mut self, runs: u64) -> Self {
        self.max_runs = Some(runs);
        self
    }

    /// Later than the schedule says by a fixed time of less than this, another one for each schedule: so that a thousand of them
    /// do not come up in one moment. At most [`SPREAD_MAX`](crate::bounds::SPREAD_MAX). [`scheduled_for`](crate::Context::scheduled_for) stays the schedule's instant.
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
        let refused = |why: &str| {
            let (name, key) = (task.name.to_string(), key.clone());
            Err(DispatchError::BadSchedule { name, key, why: why.to_owned() })
        };
        if matches!(start, Start::After(delay) if delay > DELAY_MAX) {
            return refused("it would start after more than 100 years");
        }
        if spread > SPREAD_MAX {
            return refused("it would be spread over more than 31 days");
        }
        if let (Missed::All(_), Overlap::Skip | Overlap::CancelPrevious) = (missed, overlap) {
            return refused(
                "`Missed::All` needs `.overlap(Overlap::Allow)` or `.overlap(Overlap::QueueOne)`; otherwise all but one of those that were missed would be left out again",
            );
        }
        let offset = offset(&task.name, &key, spread);
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
fn offset(name: &str, key: &str, spread: Duration) -> Duration {
    Duration::from_millis(number(0, &[name, key]) % millis(spread).max(1))
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
            offset: offset(name, name, options.spread),
            missed: options.missed,
            overlap: options.overlap,
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
        let ways = (self.missed, self.overlap, millis(self.offset));
        said(&self.schedule.to_wire(), &Template::of(&self.task, &self.key), ways)
    }

    pub(crate) fn identity(&self) -> (String, String) {
        (self.task.name.to_string(), self.key.clone())
    }

    /// What is to be stored, beside what is, with the task of a run at once; `None` if that is it already.
    pub(crate) fn row(
        &self,
        was: Option<&StoredSchedule>,
        now: SystemTime,
    ) -> Result<Option<(ScheduleRow, Vec<NewTask>)>, DispatchError> {
        let Self { task, key, until, max_runs, offset, missed, overlap, .. } = self;
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
        let until = until.map(micros);
        // A series that has come to its end may be said again, as it was, at each start of the program.
        let as_before = old.as_ref().is_some_and(|old| old.until == until);
        if !as_before && until.is_some_and(|until| until <= micros(now)) {
            return Err(DispatchError::NeverRuns { why: "`until` has passed" });
        }
        let schedule = self.counted_from_its_start(old.as_ref(), now);
        let rule = schedule.to_wire();
        let same = old.as_ref().filter(|old| old.rule == rule);
        let holds = matches!(overlap, Overlap::QueueOne | Overlap::CancelPrevious);
        let mut record = Record {
            state: match &old {
                Some(Record { state: ScheduleState::Paused, .. }) => ScheduleState::Paused,
                Some(Record { state: ScheduleState::Cancelled, .. }) => ScheduleState::Cancelled,
                _ => ScheduleState::Active,
            },
            missed: *missed,
            overlap: *overlap,
            until,
            max_runs: *max_runs,
            offset: millis(*offset),
            runs: old.as_ref().map_or(0, |old| old.runs),
            skipped: old.as_ref().map_or(0, |old| old.skipped),
            start: self.not_before(old.as_ref(), now),
            tick: None,
            held: same.and_then(|old| old.held).filter(|_| holds),
            declared: self.declared.clone(),
            task: Template::of(task, key),
            rule: rule.clone(),
            unknown,
        };
        let begins = was.is_none() || (self.revive && old.is_none());
        let at_once = begins && matches!(self.start, Start::Now);
        let tasks = match at_once {
            true => vec![record.run_now(&task.name, now)],
            false => Vec::new(),
        };
        record.runs += tasks.len() as u64;
        // What has passed and not come up, as it comes later by an offset, is still to come. Not what came up by an old one.
        let offset = old.as_ref().map_or(Duration::ZERO, |old| old.offset().min(*offset));
        let after = now.checked_sub(offset).unwrap_or(now);
        let kept = same.and_then(|old| kept(old, &record, now));
        record.goes_on_at(kept.or_else(|| record.first_after(&schedule, after)));
        if record.tick.is_none() && begins && !at_once {
            return Err(DispatchError::NeverRuns { why: "it has no instant before its end" });
        }
        if old.as_ref() == Some(&record) {
            return Ok(None);
        }
        let empty = ScheduleRow::new(task.name.clone(), key.as_str(), task.payload.clone());
        let mut row = was.map_or(empty, |was| was.row.clone());
        row.last = tasks.last().map(|task| task.id).or(row.last);
        let row = record.write(&row).map_err(|why| self.refused(&why))?;
        Ok(Some((row, tasks)))
    }

    /// The start that is stored. One that was said as a delay counts from when that was first.
    fn not_before(&self, old: Option<&Record>, now: SystemTime) -> Option<u64> {
        match self.start {
            Start::At(at) => Some(micros(at)),
            Start::After(delay) => match old {
                Some(old) if old.start.is_some() || old.has_begun() => old.start,
                _ => Some(micros(now + delay)),
            },
            Start::Next | Start::Now => None,
        }
    }

    /// The schedule; what counts days, weeks or months and does not say from where, counts from the start that was said.
    fn counted_from_its_start(&self, old: Option<&Record>, now: SystemTime) -> Schedule {
        let schedule = &self.schedule;
        let by_the_calendar = schedule.is_counted() && schedule.zone().is_some();
        if !by_the_calendar || schedule.anchor().is_some() {
            return schedule.clone();
        }
        match self.not_before(old, now) {
            Some(start) => schedule.clone().anchored(instant(start)),
            None => schedule.clone(),
        }
    }

    fn refused(&self, why: &str) -> DispatchError {
        let (name, key) = self.identity();
        DispatchError::BadSchedule { name, key, why: why.to_owned() }
    }
}

/// The next tick of the same rule as it stands, unless its start was moved.
fn kept(old: &Record, new: &Record, now: SystemTime) -> Option<SystemTime> {
    let tick = instant(old.tick?);
    let moved = old.start != new.start && !old.has_begun();
    // One that has come up and only was not taken yet stays, if it still may.
    let came_up = tick <= new.seen(now) && new.start.is_none_or(|start| instant(start) <= tick);
    (!moved || came_up).then_some(tick)
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
