//! Schedules, for people and programs that look after them.

use std::{
    mem::discriminant,
    ops::Range,
    time::{Duration, SystemTime},
};

use crate::{
    bounds::{BACKFILL_MAX, PAGE_MAX},
    error::ScheduleFault,
    runtime::{Runtime, Shared, declarations},
    schedule::Schedule,
    storage::{
        NewTask, ScheduleChange, ScheduleChanged, SchedulePage, ScheduleRow, StorageError,
        StoredSchedule,
    },
    task::{TaskId, TaskState},
    tick::{Missed, Overlap, Record, ScheduleState, instant},
};

/// A stored schedule.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ScheduleInfo {
    /// The stored name of the handler whose tasks it makes.
    pub name: String,
    /// Its key.
    pub key: String,
    /// The rule, in words: `every day at 09:00 (Europe/Rome)`.
    pub words: String,
    /// The rule; `None` if what is stored of it cannot be read.
    pub schedule: Option<Schedule>,
    /// Whether it makes tasks.
    pub state: ScheduleState,
    /// Its next tick.
    pub next: Option<SystemTime>,
    /// How much later than that it comes up: its part of what it is [spread](crate::Recurring::spread) over.
    pub offset: Duration,
    /// The tick that waits for the end of the task before.
    pub held: Option<SystemTime>,
    /// How many tasks it has made.
    pub runs: u64,
    /// How many ticks made none: nobody took them in time, or the task before was not done. Of those that were left out in one
    /// go for one reason, about a hundred are counted.
    pub skipped: u64,
    /// Only ticks before this instant.
    pub until: Option<SystemTime>,
    /// At most so many tasks.
    pub max_runs: Option<u64>,
    /// What becomes of ticks while no node lives.
    pub missed: Missed,
    /// What becomes of a tick while the task of the one before is not done.
    pub overlap: Overlap,
    /// The queue of its tasks; empty if what is stored cannot be read.
    pub queue: String,
    /// The task it made last.
    pub last: Option<TaskId>,
    /// Where that one stands; `None` if it is not stored any more.
    pub last_state: Option<TaskState>,
    /// It comes from the attribute of its handler.
    pub declared: bool,
    /// It did, and no program that lives declares it any more.
    pub undeclared: bool,
}

impl ScheduleInfo {
    pub(crate) fn of(stored: &StoredSchedule) -> Self {
        let StoredSchedule { row, last_state, .. } = stored;
        let read = Record::read(row);
        let schedule = read.as_ref().ok().and_then(|record| record.schedule().ok());
        let broken = |why: &String| ScheduleState::Broken(why.clone());
        let state = read.as_ref().map_or_else(broken, |record| record.state.clone());
        let record = read.ok();
        let active = state == ScheduleState::Active;
        let of_record = |get: fn(&Record) -> Option<u64>| record.as_ref().and_then(get);
        let declared = record.as_ref().and_then(|record| record.declared.as_ref());
        Self {
            name: row.name.to_string(),
            key: row.key.to_string(),
            words: schedule.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string),
            schedule,
            next: of_record(|record| record.tick).filter(|_| active).map(instant),
            offset: record.as_ref().map(Record::offset).unwrap_or_default(),
            held: of_record(|record| Some(record.held?.tick)).map(instant),
            state,
            runs: of_record(|record| Some(record.runs)).unwrap_or_default(),
            skipped: of_record(|record| Some(record.skipped)).unwrap_or_default(),
            until: of_record(|record| record.until).map(instant),
            max_runs: of_record(|record| record.max_runs),
            missed: record.as_ref().map(|record| record.missed).unwrap_or_default(),
            overlap: record.as_ref().map(|record| record.overlap).unwrap_or_default(),
            queue: record.as_ref().map(|record| record.task.queue.clone()).unwrap_or_default(),
            last: row.last,
            last_state: *last_state,
            declared: declared.is_some_and(|declared| !declared.nowhere),
            undeclared: declared.is_some_and(|declared| declared.nowhere),
        }
    }

    /// Its next ticks, at most so many, and no more than there are before its end and within its runs; none while it is paused or
    /// over.
    #[must_use]
    pub fn upcoming(&self, most: usize) -> Vec<SystemTime> {
        let Some((schedule, next)) = self.schedule.as_ref().zip(self.next) else {
            return Vec::new();
        };
        let left = self.max_runs.map_or(u64::MAX, |max| max.saturating_sub(self.runs));
        let left = left.saturating_sub(self.held.is_some().into());
        let most = most.min(usize::try_from(left).unwrap_or(usize::MAX));
        let ticks = std::iter::once(next).chain(schedule.after(next));
        ticks.take_while(|tick| self.until.is_none_or(|until| *tick < until)).take(most).collect()
    }
}

/// An error, unless it makes tasks or will when it is resumed.
fn goes_on(record: &Record, key: &str) -> Result<(), ScheduleFault> {
    match &record.state {
        ScheduleState::Active | ScheduleState::Paused => Ok(()),
        ScheduleState::Broken(why) => Err(ScheduleFault::Broken(why.clone())),
        ScheduleState::Cancelled | ScheduleState::Ended => Err(ScheduleFault::Over(key.to_owned())),
    }
}

/// Its rule, if this program can read it.
fn readable(record: &Record, name: &str, key: &str) -> Result<Schedule, ScheduleFault> {
    record.schedule().map_err(|error| match error.is_newer() {
        true => ScheduleFault::Newer { name: name.to_owned(), key: key.to_owned() },
        false => ScheduleFault::Broken(error.to_string()),
    })
}

/// Which schedules: those to which all that is said applies.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ScheduleFilter {
    /// Its key begins so.
    pub key_prefix: Option<String>,
    /// It is in this state; one that is broken is, whatever the reason.
    pub state: Option<ScheduleState>,
}

impl ScheduleFilter {
    fn matches(&self, info: &ScheduleInfo) -> bool {
        let is = |state: &ScheduleState| discriminant(state) == discriminant(&info.state);
        self.key_prefix.as_ref().is_none_or(|prefix| info.key.starts_with(prefix))
            && self.state.as_ref().is_none_or(is)
    }
}

/// The schedules of a storage, by the name of their handler and their key.
#[derive(Debug, Clone, Copy)]
pub struct Schedules<'r>(&'r Shared);

impl Runtime {
    /// The schedules: to list, pause, resume, run now, skip or remove them.
    #[must_use]
    pub fn schedules(&self) -> Schedules<'_> {
        Schedules(self.shared())
    }
}

impl Schedules<'_> {
    /// One schedule.
    ///
    /// # Errors
    /// The storage could not be read.
    pub async fn get(&self, name: &str, key: &str) -> Result<Option<ScheduleInfo>, StorageError> {
        let stored = self.0.storage.schedule(name.to_owned(), key.to_owned()).await?;
        Ok(stored.as_ref().map(ScheduleInfo::of))
    }

    /// Schedules in the order of name and key, a page of at most 1,000.
    ///
    /// # Errors
    /// The storage could not be read.
    pub async fn list(&self, page: SchedulePage) -> Result<Vec<ScheduleInfo>, StorageError> {
        Ok(self.0.storage.schedules(page).await?.iter().map(ScheduleInfo::of).collect())
    }

    /// Schedules as [`list`](Self::list) gives them, but only those that match. All others of the page's handler, or of all, are
    /// read and left out: where there are many, that takes its time.
    ///
    /// # Errors
    /// The storage could not be read.
    pub async fn find(
        &self,
        filter: ScheduleFilter,
        mut page: SchedulePage,
    ) -> Result<Vec<ScheduleInfo>, StorageError> {
        let (limit, mut found) = (page.limit, Vec::new());
        page.limit = PAGE_MAX;
        loop {
            let stored = self.0.storage.schedules(page.clone()).await?;
            let last = stored.last().map(|it| (it.row.name.to_string(), it.row.key.to_string()));
            let infos = stored.iter().map(ScheduleInfo::of);
            found.extend(infos.filter(|info| filter.matches(info)).take(limit - found.len()));
            if stored.len() < PAGE_MAX || found.len() == limit {
                return Ok(found);
            }
            page.after = last;
        }
    }

    /// Makes no tasks from now on, until it is resumed.
    ///
    /// # Errors
    /// It is not stored, over or broken, or the storage refused.
    pub async fn pause(&self, name: &str, key: &str) -> Result<ScheduleInfo, ScheduleFault> {
        self.change(name, key, |record, _| {
            goes_on(record, key)?;
            record.state = ScheduleState::Paused;
            Ok(())
        })
        .await
    }

    /// Makes tasks again, from its next instant on; what came up while it was paused is gone.
    ///
    /// # Errors
    /// It is not stored or over, is broken or written by a newer program, or the storage refused.
    pub async fn resume(&self, name: &str, key: &str) -> Result<ScheduleInfo, ScheduleFault> {
        self.change(name, key, |record, now| {
            goes_on(record, key)?;
            if record.state == ScheduleState::Active {
                return Ok(());
            }
            let schedule = readable(record, name, key)?;
            record.state = ScheduleState::Active;
            let seen = record.seen(now);
            if record.tick.is_none_or(|tick| instant(tick) <= seen) {
                record.goes_on_at(record.first_after(&schedule, seen));
            }
            Ok(())
        })
        .await
    }

    /// Leaves its next tick out.
    ///
    /// # Errors
    /// It is not stored, is paused, has no next tick or cannot be read, or the storage refused.
    pub async fn skip_next(&self, name: &str, key: &str) -> Result<ScheduleInfo, ScheduleFault> {
        self.change(name, key, |record, _| {
            goes_on(record, key)?;
            if record.state == ScheduleState::Paused {
                return Err(ScheduleFault::Paused(key.to_owned()));
            }
            let Some(tick) = record.tick else {
                return Err(ScheduleFault::Over(key.to_owned()));
            };
            let schedule = readable(record, name, key)?;
            record.goes_on_at(schedule.next(instant(tick)));
            Ok(())
        })
        .await
    }

    /// Makes a task now, beside its ticks; it counts as a run, so with the last one the schedule ends. Otherwise its next tick
    /// stays. One that is paused stays so.
    ///
    /// # Errors
    /// It is not stored, over or broken, or the storage refused.
    pub async fn run_now(&self, name: &str, key: &str) -> Result<TaskId, ScheduleFault> {
        let id = TaskId::new();
        let make = |record: &mut Record, row: &mut ScheduleRow, now| {
            goes_on(record, key)?;
            if record.max_runs.is_some_and(|max| record.runs >= max) {
                return Err(ScheduleFault::Over(key.to_owned()));
            }
            let task = record.run_now(&row.name, now);
            record.runs = record.runs.saturating_add(1);
            record.goes_on_at(record.tick.map(instant));
            row.last = Some(id);
            Ok(vec![NewTask { id, ..task }])
        };
        self.0.change_schedule(name, key, make).await?;
        Ok(id)
    }

    /// Makes a task for each of its ticks in this range (with its beginning, without its end) that has passed, at most
    /// [`BACKFILL_MAX`](crate::bounds::BACKFILL_MAX): for a time in which nobody took them, or before the schedule was stored.
    ///
    /// They are made whatever the schedule says about overlap and missed ticks, also if it is paused, and do not count as its runs.
    /// A tick's task has always the same id. So saying it again, or for a range that overlaps, adds nothing as long as those tasks
    /// are stored. Ticks that the schedule took by itself are made once more.
    ///
    /// # Errors
    /// It is not stored or cannot be read, there are too many ticks, or the storage refused. Nothing is stored then.
    pub async fn backfill(
        &self,
        name: &str,
        key: &str,
        range: Range<SystemTime>,
    ) -> Result<Vec<TaskId>, ScheduleFault> {
        let now = self.0.storage_now().await?;
        let (stored, record) = self.0.readable_schedule(name, key).await?;
        let schedule = readable(&record, name, key)?;
        let end = range.end.min(now).min(record.until.map_or(now, instant));
        let first = Some(range.start).filter(|start| schedule.contains(*start));
        let rest = schedule.after(range.start);
        let ticks = first.into_iter().chain(rest).take_while(|tick| *tick < end);
        let tasks: Vec<NewTask> =
            ticks.take(BACKFILL_MAX + 1).map(|tick| record.made_up(&stored.row, tick)).collect();
        if tasks.len() > BACKFILL_MAX {
            let (key, max) = (key.to_owned(), BACKFILL_MAX);
            return Err(ScheduleFault::TooManyTicks { key, max });
        }
        let ids = tasks.iter().map(|task| task.id).collect();
        if !tasks.is_empty() {
            let enqueued = self.0.storage.enqueue(tasks.clone()).await?;
            self.0.tell_dispatched(&tasks, &enqueued);
        }
        Ok(ids)
    }

    /// Ends it for good: it makes no tasks any more, and storing it again, as at each start of the program, does not change that
    /// unless it is to be [revived](crate::Recurring::revive). The tasks it made stay.
    ///
    /// # Errors
    /// It is not stored, or the storage refused.
    pub async fn cancel(&self, name: &str, key: &str) -> Result<ScheduleInfo, ScheduleFault> {
        self.change(name, key, |record, _| {
            record.state = ScheduleState::Cancelled;
            record.held = None;
            Ok(())
        })
        .await
    }

    /// Lets one that was cancelled or is over begin anew: with its next instant, its runs counted from none. One that is neither stays
    /// as it is.
    ///
    /// # Errors
    /// It is not stored, is broken or cannot be read, its rule has no more instants, or the storage refused.
    pub async fn revive(&self, name: &str, key: &str) -> Result<ScheduleInfo, ScheduleFault> {
        self.change(name, key, |record, now| {
            if !record.is_over() {
                return goes_on(record, key);
            }
            let schedule = readable(record, name, key)?;
            (record.state, record.runs, record.skipped) = (ScheduleState::Active, 0, 0);
            record.goes_on_at(record.first_after(&schedule, now));
            match record.is_over() {
                true => Err(ScheduleFault::NoMore(key.to_owned())),
                false => Ok(()),
            }
        })
        .await
    }

    /// Removes it, and what is known of its runs. The tasks it made stay. What the program stores at its start, or declares in an
    /// attribute, it then stores again; [cancel](Self::cancel) it to prevent that. True if it was stored.
    ///
    /// # Errors
    /// The storage refused.
    pub async fn remove(&self, name: &str, key: &str) -> Result<bool, StorageError> {
        loop {
            let found = self.0.storage.schedule(name.to_owned(), key.to_owned()).await?;
            let Some(found) = found else { return Ok(false) };
            if self.remove_as_it_is(&found).await? {
                return Ok(true);
            }
        }
    }

    /// Schedules that attributes declared, and that no program which lives declares any more: they go on if their handlers are
    /// still there. It takes some minutes after the last such program has ended until they are known, and it is told then
    /// ([`ScheduleUndeclared`](crate::EventKind::ScheduleUndeclared)). If that one was killed, it may take a day.
    ///
    /// # Errors
    /// The storage could not be read.
    pub async fn undeclared(&self) -> Result<Vec<ScheduleInfo>, StorageError> {
        declarations::undeclared(self.0).await
    }

    /// Removes what is [undeclared](Self::undeclared), and returns it.
    ///
    /// # Errors
    /// The storage refused.
    pub async fn remove_undeclared(&self) -> Result<Vec<ScheduleInfo>, StorageError> {
        let mut removed = Vec::new();
        for stored in declarations::declared(self.0).await? {
            let info = ScheduleInfo::of(&stored);
            // Whoever declares it again meanwhile changes it, and it stays.
            if info.undeclared && self.remove_as_it_is(&stored).await? {
                removed.push(info);
            }
        }
        Ok(removed)
    }

    async fn remove_as_it_is(&self, stored: &StoredSchedule) -> Result<bool, StorageError> {
        let changes = vec![ScheduleChange::remove(stored)];
        Ok(self.0.storage.change_schedules(changes).await? != [ScheduleChanged::Stale])
    }

    async fn change(
        &self,
        name: &str,
        key: &str,
        mut change: impl FnMut(&mut Record, SystemTime) -> Result<(), ScheduleFault>,
    ) -> Result<ScheduleInfo, ScheduleFault> {
        self.0
            .change_schedule(name, key, |record, _, now| change(record, now).map(|()| Vec::new()))
            .await
    }
}
