//! Schedules, for people and programs that look after them.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep};

use crate::{
    error::{DispatchError, ScheduleFault},
    recurring::Wish,
    runtime::{Runtime, Shared, patience::Patience},
    schedule::Schedule,
    storage::{
        ScheduleChange, ScheduleChanged, SchedulePage, ScheduleRow, StorageError, StoredSchedule,
    },
    task::{TaskId, TaskState},
    tick::{FORMAT, Record, ScheduleState, instant},
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
    /// How many tasks it has made.
    pub runs: u64,
    /// The task it made last.
    pub last: Option<TaskId>,
    /// Where that one stands; `None` if it is not stored any more.
    pub last_state: Option<TaskState>,
}

impl ScheduleInfo {
    fn of(stored: &StoredSchedule) -> Self {
        let StoredSchedule { row, last_state, .. } = stored;
        let record = Record::read(row);
        let schedule = record.as_ref().ok().and_then(|record| record.schedule().ok());
        let (state, tick, runs) = match record {
            Ok(Record { state, tick, runs, .. }) => (state, tick, runs),
            Err(why) => (ScheduleState::Broken(why), None, 0),
        };
        let active = state == ScheduleState::Active;
        Self {
            name: row.name.to_string(),
            key: row.key.to_string(),
            words: schedule.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string),
            schedule,
            next: tick.filter(|_| active).map(instant),
            state,
            runs,
            last: row.last,
            last_state: *last_state,
        }
    }

    /// Its next ticks, at most so many; none while it is paused or over.
    #[must_use]
    pub fn upcoming(&self, most: usize) -> Vec<SystemTime> {
        let Some((schedule, next)) = self.schedule.as_ref().zip(self.next) else {
            return Vec::new();
        };
        std::iter::once(next).chain(schedule.after(next)).take(most).collect()
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

    /// Makes no tasks from now on, until it is resumed.
    ///
    /// # Errors
    /// It is not stored or over, or the storage refused.
    pub async fn pause(&self, name: &str, key: &str) -> Result<ScheduleInfo, ScheduleFault> {
        self.change(name, key, |record, _| match record.state {
            ScheduleState::Active | ScheduleState::Paused => {
                record.state = ScheduleState::Paused;
                Ok(())
            }
            _ => Err(ScheduleFault::Over(key.to_owned())),
        })
        .await
    }

    /// Makes tasks again, from its next instant on; what came up while it was paused is gone.
    ///
    /// # Errors
    /// It is not stored or over, or the storage refused.
    pub async fn resume(&self, name: &str, key: &str) -> Result<ScheduleInfo, ScheduleFault> {
        self.change(name, key, |record, now| match record.state {
            ScheduleState::Active => Ok(()),
            ScheduleState::Paused => {
                record.state = ScheduleState::Active;
                if record.tick.is_none_or(|tick| instant(tick) <= now) {
                    let next = record.schedule().ok().and_then(|schedule| schedule.next(now));
                    record.goes_on_at(next);
                }
                Ok(())
            }
            _ => Err(ScheduleFault::Over(key.to_owned())),
        })
        .await
    }

    /// Leaves its next tick out.
    ///
    /// # Errors
    /// It is not stored or has no next tick, or the storage refused.
    pub async fn skip_next(&self, name: &str, key: &str) -> Result<ScheduleInfo, ScheduleFault> {
        self.change(name, key, |record, _| {
            let next = record.schedule().ok().zip(record.tick);
            let Some((schedule, tick)) = next else {
                return Err(ScheduleFault::Over(key.to_owned()));
            };
            record.goes_on_at(schedule.next(instant(tick)));
            Ok(())
        })
        .await
    }

    /// Makes a task now, beside its ticks; it counts as a run. Its next tick stays.
    ///
    /// # Errors
    /// It is not stored or cannot be read, or the storage refused.
    pub async fn run_now(&self, name: &str, key: &str) -> Result<TaskId, ScheduleFault> {
        let id = TaskId::new();
        let make = |record: &mut Record, row: &mut ScheduleRow, now| {
            let task = record.run_now(&row.name, now);
            record.runs = record.runs.saturating_add(1);
            row.last = Some(id);
            Ok(vec![crate::storage::NewTask { id, ..task }])
        };
        self.0.change_schedule(name, key, make).await?;
        Ok(id)
    }

    /// Removes it. The tasks it made stay. True if it was stored.
    ///
    /// # Errors
    /// The storage refused.
    pub async fn remove(&self, name: &str, key: &str) -> Result<bool, StorageError> {
        loop {
            let found = self.0.storage.schedule(name.to_owned(), key.to_owned()).await?;
            let Some(found) = found else { return Ok(false) };
            let changes = vec![ScheduleChange::remove(&found)];
            if self.0.storage.change_schedules(changes).await? != [ScheduleChanged::Stale] {
                return Ok(true);
            }
        }
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

impl Shared {
    /// What the storage's clock says.
    async fn storage_now(&self) -> Result<SystemTime, StorageError> {
        let nobodys = Arc::from(Vec::new());
        Ok(self.storage.due_schedules(nobodys, FORMAT, 1).await?.now)
    }

    /// Changes a schedule from what it is, again if somebody else changes it meanwhile.
    async fn change_schedule(
        &self,
        name: &str,
        key: &str,
        mut change: impl FnMut(
            &mut Record,
            &mut ScheduleRow,
            SystemTime,
        ) -> Result<Vec<crate::storage::NewTask>, ScheduleFault>,
    ) -> Result<ScheduleInfo, ScheduleFault> {
        loop {
            let now = self.storage_now().await?;
            let found = self.storage.schedule(name.to_owned(), key.to_owned()).await?;
            let unknown = || ScheduleFault::Unknown { name: name.to_owned(), key: key.to_owned() };
            let found = found.ok_or_else(unknown)?;
            let mut row = found.row.clone();
            let mut record = Record::read(&row).map_err(ScheduleFault::Broken)?;
            let tasks = change(&mut record, &mut row, now)?;
            let row = record.write(&row).map_err(ScheduleFault::Broken)?;
            let change = ScheduleChange::to(Some(found.revision), row.clone()).with_tasks(tasks);
            let revision = change.revision;
            let changed = self.storage.change_schedules(vec![change.clone()]).await?;
            if let [ScheduleChanged::Done(enqueued)] = &changed[..] {
                self.tell_dispatched(&change.tasks, enqueued);
                let last_state = found.last_state;
                return Ok(ScheduleInfo::of(&StoredSchedule::new(row, revision, last_state)));
            }
        }
    }

    /// Stores a schedule, or makes the one with its key what was asked for.
    pub(crate) async fn put_schedule(&self, wish: Wish) -> Result<ScheduleInfo, DispatchError> {
        if self.closed.is_set() {
            return Err(DispatchError::ShutDown);
        }
        let (start, limit) = (Instant::now(), self.settings.dispatch_timeout);
        let mut patience = Patience::new();
        loop {
            // Said again from the start: what was stored by a try whose answer was lost is then found as it should be.
            let left = limit.saturating_sub(start.elapsed());
            let error = match tokio::time::timeout(left, self.try_put(&wish)).await {
                Ok(Ok(info)) => return Ok(info),
                Ok(Err(DispatchError::Storage(error))) if error.is_transient() => error,
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    let what = "the storage did not answer in time; whether the schedule is stored is not known";
                    let kind = crate::storage::StorageErrorKind::Unavailable;
                    return Err(DispatchError::Storage(StorageError::new(kind, what)));
                }
            };
            let wait: Duration = patience.wait();
            if start.elapsed() + wait >= limit {
                return Err(DispatchError::Storage(error));
            }
            sleep(wait).await;
        }
    }

    async fn try_put(&self, wish: &Wish) -> Result<ScheduleInfo, DispatchError> {
        let (name, key) = wish.identity();
        loop {
            let now = self.storage_now().await.map_err(DispatchError::Storage)?;
            let was = self.storage.schedule(name.clone(), key.clone()).await;
            let was = was.map_err(DispatchError::Storage)?;
            let Some(row) = wish.row(was.as_ref(), now)? else {
                if let Some(was) = &was {
                    return Ok(ScheduleInfo::of(was));
                }
                continue;
            };
            let change = ScheduleChange::to(was.as_ref().map(|was| was.revision), row.clone());
            let revision = change.revision;
            let changed = self.storage.change_schedules(vec![change]).await;
            if changed.map_err(DispatchError::Storage)? != [ScheduleChanged::Stale] {
                let last_state = was.and_then(|was| was.last_state);
                return Ok(ScheduleInfo::of(&StoredSchedule::new(row, revision, last_state)));
            }
        }
    }
}
