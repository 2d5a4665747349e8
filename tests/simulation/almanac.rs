//! What the storage does with schedules, with or without a planted bug.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use evertask::{
    Body, StorageError, StorageErrorKind, TaskState,
    storage::{
        Dispatched, DueSchedules, Enqueued, Inspect, Known, NewTask, ScheduleChange,
        ScheduleChanged, SchedulePage, ScheduleRow, Storage, StoredSchedule,
    },
};

use crate::{
    bugs::Bug,
    ledger::Ask,
    tides,
    truth::{Answer, Truth},
    wall,
    world::at_once,
};

impl Truth {
    pub(crate) fn change_schedules(
        &self,
        mut changes: Vec<ScheduleChange>,
        asked: Option<Ask>,
    ) -> Answer<Vec<ScheduleChanged>> {
        for change in &mut changes {
            self.mistake(change, asked)?;
        }
        if self.has(Bug::TickTwice) {
            for change in changes.iter_mut().filter(|change| change.from.is_some()) {
                let (name, key) = (change.name.to_string(), change.key.to_string());
                let stored = at_once(self.memory.schedule(name, key))?;
                change.from = stored.map(|stored| stored.revision);
            }
        }
        if self.has(Bug::TicksDrift) {
            changes.iter_mut().for_each(|change| self.drift(change));
        }
        for row in changes.iter_mut().filter_map(|change| change.to.as_mut()) {
            self.misread(row);
        }
        let ticks = changes.iter().any(|it| it.from.is_some() && !it.tasks.is_empty());
        if !ticks || !self.has(Bug::TickWithoutTask) && !self.has(Bug::TickTornApart) {
            return at_once(self.memory.change_schedules(changes));
        }
        let stored = |task: NewTask| Enqueued { id: task.id, how: Dispatched::Created };
        let tasks: Vec<_> = changes.iter_mut().map(|it| std::mem::take(&mut it.tasks)).collect();
        let mut changed = at_once(self.memory.change_schedules(changes))?;
        if self.has(Bug::TickTornApart) {
            return Err(StorageError::new(StorageErrorKind::Unavailable, "the process is gone"));
        }
        for (changed, tasks) in changed.iter_mut().zip(tasks) {
            if let ScheduleChanged::Done(enqueued) = changed {
                *enqueued = tasks.into_iter().map(stored).collect();
            }
        }
        Ok(changed)
    }

    pub(crate) fn due_schedules(
        &self,
        handlers: Arc<[Known]>,
        format: u32,
        limit: usize,
    ) -> Answer<DueSchedules> {
        let mut due = at_once(self.memory.due_schedules(handlers, format, limit))?;
        if self.has(Bug::OverlapNotSeen) {
            let last = due.due.iter_mut().filter_map(|stored| stored.last_state.as_mut());
            last.for_each(|state| *state = TaskState::Completed);
        }
        Ok(due)
    }

    pub(crate) fn stored_schedule(&self, name: &str, key: &str) -> Answer<Option<StoredSchedule>> {
        at_once(self.memory.schedule(name.to_owned(), key.to_owned()))
    }

    /// The next tick is as much too late as this one was.
    fn drift(&self, change: &mut ScheduleChange) {
        let late =
            change.tasks.first().and_then(|task| self.clock().duration_since(task.tick?).ok());
        let Some((late, row)) = late.zip(change.to.as_mut()) else { return };
        let Some(next) = row.next else { return };
        comes_up(row, next + late);
    }

    /// A schedule as those store it who have a wrong idea of the clock on the wall, or of what was declared.
    fn misread(&self, row: &mut ScheduleRow) {
        let (body, now) = (json(row), self.clock());
        let rule = body["rule"].as_str().unwrap_or_default();
        let again = wall::again(now).filter(|again| row.next.is_none_or(|next| *again < next));
        if let (true, true, Some(again)) =
            (self.has(Bug::FoldFiredTwice), row.key.starts_with("wall"), again)
        {
            comes_up(row, again);
        }
        if let (true, Some(next)) = (self.has(Bug::FoldStopsRepetition), row.next)
            && rule.ends_with(wall::ZONE)
            && now < wall::back()
            && next >= wall::back()
        {
            comes_up(row, next + Duration::from_secs(3_600));
        }
        if self.has(Bug::OldReleaseUndoes) && body["declared"].is_object() {
            let mut body = body;
            body["declared"] = serde_json::json!({});
            row.body = Body::json(&body).expect("it was JSON");
        }
    }

    pub(crate) fn has_schedule(&self, key: &str) -> bool {
        let stored = at_once(self.memory.schedule("alpha".to_owned(), key.to_owned()));
        stored.expect("memory does not fail").is_some()
    }

    /// Whether no schedule comes up any more but the one that has no end.
    pub(crate) fn schedules_are_over(&self) -> bool {
        let all = at_once(self.memory.schedules(SchedulePage::default()));
        let mut all = all.expect("memory does not fail").into_iter();
        all.all(|stored| stored.row.next.is_none() || *stored.row.name == *tides::NAME)
    }

    /// The rule that is stored of a schedule.
    pub(crate) fn rule(&self, name: &str, key: &str) -> Option<String> {
        let stored = at_once(self.memory.schedule(name.to_owned(), key.to_owned()));
        let row = stored.expect("memory does not fail")?.row;
        json(&row)["rule"].as_str().map(str::to_owned)
    }
}

pub(crate) fn json(row: &ScheduleRow) -> serde_json::Value {
    serde_json::from_str(row.body.as_str().unwrap_or_default()).expect("it is JSON")
}

/// This schedule comes up then, whatever its rule says.
fn comes_up(row: &mut ScheduleRow, next: SystemTime) {
    let mut body = json(row);
    let since = next.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (body["tick"], body["state"]) = ((since.as_micros() as u64).into(), "active".into());
    (row.next, row.body) = (Some(next), Body::json(&body).expect("it was JSON"));
}
