//! Changes of schedules, each from the revision it was found at, again if somebody else was quicker.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep};

use crate::{
    error::{DispatchError, ScheduleFault},
    event::{Event, EventKind},
    recurring::Wish,
    runtime::{ScheduleInfo, Shared, patience::Patience},
    storage::{
        NewTask, ScheduleChange, ScheduleChanged, ScheduleRow, StorageError, StorageErrorKind,
        StoredSchedule,
    },
    tick::{FORMAT, Record, ScheduleState},
};

impl Shared {
    /// What the storage's clock says.
    pub(crate) async fn storage_now(&self) -> Result<SystemTime, StorageError> {
        let nobodys = Arc::from(Vec::new());
        Ok(self.storage.due_schedules(nobodys, FORMAT, 1).await?.now)
    }

    /// Changes a schedule from what it is.
    pub(crate) async fn change_schedule(
        &self,
        name: &str,
        key: &str,
        mut change: impl FnMut(
            &mut Record,
            &mut ScheduleRow,
            SystemTime,
        ) -> Result<Vec<NewTask>, ScheduleFault>,
    ) -> Result<ScheduleInfo, ScheduleFault> {
        loop {
            let now = self.storage_now().await?;
            let (found, mut record) = self.readable_schedule(name, key).await?;
            let mut row = found.row.clone();
            let was = record.state.clone();
            let tasks = change(&mut record, &mut row, now)?;
            let row = record.write(&row).map_err(ScheduleFault::Broken)?;
            let change = ScheduleChange::to(Some(found.revision), row.clone()).with_tasks(tasks);
            let revision = change.revision;
            let changed = self.storage.change_schedules(vec![change.clone()]).await?;
            if let [ScheduleChanged::Done(enqueued)] = &changed[..] {
                self.tell_dispatched(&change.tasks, enqueued);
                if was != record.state {
                    self.tell_end(&record, name, key);
                }
                let last_state = found.last_state;
                return Ok(ScheduleInfo::of(&StoredSchedule::new(row, revision, last_state)));
            }
        }
    }

    /// Tells if a schedule has just come to its end.
    pub(crate) fn tell_end(&self, record: &Record, name: &str, key: &str) {
        if record.state == ScheduleState::Ended {
            tracing::info!(name, key, "the schedule came to its end");
            let event = || Event::of_schedule(EventKind::ScheduleEnded, name, key);
            self.events.tell(|| event().error("it came to its end"));
        }
    }

    /// A schedule that this program can read, and so may write.
    pub(crate) async fn readable_schedule(
        &self,
        name: &str,
        key: &str,
    ) -> Result<(StoredSchedule, Record), ScheduleFault> {
        let found = self.storage.schedule(name.to_owned(), key.to_owned()).await?;
        let unknown = || ScheduleFault::Unknown { name: name.to_owned(), key: key.to_owned() };
        let found = found.ok_or_else(unknown)?;
        if found.row.format > FORMAT {
            return Err(ScheduleFault::Newer { name: name.to_owned(), key: key.to_owned() });
        }
        let record = Record::read(&found.row).map_err(ScheduleFault::Broken)?;
        Ok((found, record))
    }

    /// Stores a schedule, or makes the one with its key what was asked for.
    pub(crate) async fn put_schedule(&self, wish: Wish) -> Result<ScheduleInfo, DispatchError> {
        if self.is_closed() {
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
                    let kind = StorageErrorKind::Unavailable;
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
            let Some((row, tasks)) = wish.row(was.as_ref(), now)? else {
                if let Some(was) = &was {
                    return Ok(ScheduleInfo::of(was));
                }
                continue;
            };
            let change = ScheduleChange::to(was.as_ref().map(|was| was.revision), row.clone());
            let change = change.with_tasks(tasks.clone());
            let revision = change.revision;
            let changed = self.storage.change_schedules(vec![change]).await;
            let changed = changed.map_err(DispatchError::Storage)?;
            if let [ScheduleChanged::Done(enqueued)] = &changed[..] {
                self.tell_dispatched(&tasks, enqueued);
                let last_state = was.and_then(|was| was.last_state);
                return Ok(ScheduleInfo::of(&StoredSchedule::new(row, revision, last_state)));
            }
        }
    }
}
