//! What is asked of series, what ticks come to, and what becomes of their tasks, as those store it who get it wrong.

use std::time::{Duration, UNIX_EPOCH};

use evertask::{
    Body, SCHEDULE_TAG, TaskId,
    storage::{NewTask, ScheduleChange, ScheduleRow, Storage as _, StoredSchedule},
};
use serde_json::Value;

use crate::{
    almanac::json,
    bugs::Bug,
    ledger::{Ask, Asked, Line},
    truth::{Answer, Truth},
    world::at_once,
};

/// From when on a tick counts as missed for those who have little patience.
const LATE: Duration = Duration::from_secs(3);

fn write(row: &mut ScheduleRow, body: &Value) {
    row.body = Body::json(body).expect("it was JSON");
}

fn add(body: &mut Value, name: &str, more: i64) {
    body[name] = (body[name].as_i64().unwrap_or_default() + more).into();
}

impl Truth {
    /// What people asked for, or what a node makes of ticks, as somebody stores it who gets it wrong.
    pub(crate) fn mistake(&self, change: &mut ScheduleChange, asked: Option<Ask>) -> Answer<()> {
        let Some(old) = self.stored_schedule(&change.name, &change.key)? else { return Ok(()) };
        if change.to.is_none() && self.has(Bug::RemovedGoesOn) {
            change.to = Some(old.row);
            return Ok(());
        }
        let was = json(&old.row);
        let Some(row) = change.to.as_mut() else { return Ok(()) };
        let mut body = json(row);
        let tick = |body: &Value| Some(UNIX_EPOCH + Duration::from_micros(body["tick"].as_u64()?));
        match asked {
            Some(Ask::SkipNext) if self.has(Bug::SkippedTickIsMade) => {
                body["tick"] = was["tick"].clone();
                row.next = tick(&body);
            }
            Some(Ask::RunNow) if self.has(Bug::RunNowTakesTheNext) && body["tick"].is_u64() => {
                body["tick"] = (body["tick"].as_u64().unwrap_or_default() + 5_000_000).into();
                row.next = tick(&body).filter(|_| body["state"] == "active");
            }
            Some(Ask::Store) if self.has(Bug::StoredAgainCountsAnew) => body["runs"] = 0.into(),
            Some(Ask::Store) if self.has(Bug::StoredAgainResumes) && was["state"] == "paused" => {
                (body["state"], row.next) = ("active".into(), tick(&body));
            }
            _ if self.has(Bug::TicksWhilePaused) && body["state"] == "paused" => {
                row.next = tick(&body);
            }
            None if self.has(Bug::MissedIsMadeTwice) && change.tasks.len() > 1 => {
                body["tick"] = was["tick"].clone();
                row.next = tick(&body).filter(|_| body["state"] == "active");
            }
            Some(Ask::Cancel) if self.has(Bug::CancelledIsPaused) => {
                body["state"] = "paused".into();
            }
            Some(Ask::Revive) if self.has(Bug::RevivedCountsOn) => {
                body["runs"] = was["runs"].clone();
            }
            None if self.has(Bug::MissedIsLost) && change.tasks.len() > 1 => {
                let last = change.tasks.split_off(change.tasks.len() - 1);
                let lost = std::mem::replace(&mut change.tasks, last).len() as u64;
                body["runs"] = (body["runs"].as_u64().unwrap_or_default() - lost).into();
            }
            _ => return Ok(()),
        }
        row.body = Body::json(&body).expect("it was JSON");
        Ok(())
    }

    /// What nodes make of ticks that have another idea of those which are missed, or come up while the task before lives.
    pub(crate) fn misticked(
        &self,
        mut changes: Vec<ScheduleChange>,
        asked: Option<Asked>,
    ) -> Vec<ScheduleChange> {
        for change in changes.iter_mut().filter(|_| asked.is_none()) {
            let old = self.stored_schedule(&change.name, &change.key).ok().flatten();
            if let Some(old) = old.filter(|old| Some(old.revision) == change.from) {
                self.mistick(&old, change);
            }
        }
        changes
    }

    fn mistick(&self, old: &StoredSchedule, change: &mut ScheduleChange) {
        let (Some(row), tasks) = (change.to.as_mut(), &mut change.tasks) else { return };
        let (was, line, mut body) = (json(&old.row), Line::read(&old.row), json(row));
        let (Some(first), Some(every)) = (line.tick, line.every()) else { return };
        let more = |name: &str| {
            body[name].as_u64().unwrap_or_default() > was[name].as_u64().unwrap_or_default()
        };
        let left_out = more("skipped");
        let late = self.clock().duration_since(first).unwrap_or_default();
        if self.has(Bug::LateIsMissed) && late > LATE && !tasks.is_empty() {
            add(&mut body, "skipped", tasks.len() as i64);
            add(&mut body, "runs", -(tasks.len() as i64));
            tasks.clear();
            row.last = old.row.last;
        } else if self.has(Bug::MissedOnceIsTheFirst) && line.missed == "once" && tasks.len() == 1 {
            tasks[0].tick = Some(first);
        } else if self.has(Bug::MissedIsMadeAllTheSame)
            && left_out
            && tasks.first().is_some_and(|task| task.tick > Some(first))
            && line.max_runs.is_none_or(|max| Line::read(row).runs < max)
            && let Some(mut more) = tasks.first().cloned()
        {
            add(&mut body, "skipped", -1);
            add(&mut body, "runs", 1);
            (more.id, more.tick) = (TaskId::new(), Some(first));
            tasks.insert(0, more);
        } else if self.has(Bug::TheNewestWaits)
            && left_out
            && line.overlap == "queue_one"
            && let (true, Some(next)) = (body["held"].is_object(), Line::read(row).tick)
        {
            let newest = (next - every).duration_since(UNIX_EPOCH).unwrap_or_default();
            body["held"]["tick"] = (newest.as_micros() as u64).into();
        } else {
            return;
        }
        write(row, &body);
    }

    /// The series that has made a task, if one has.
    fn series_of(&self, id: TaskId) -> Option<StoredSchedule> {
        let task = self.task(id)?;
        self.stored_schedule(&task.name, task.tags.get(SCHEDULE_TAG)?).ok().flatten()
    }

    /// Changes what is stored of a series, and nobody has asked for that.
    fn meddle(&self, stored: StoredSchedule, change: impl FnOnce(&mut Value)) {
        let (mut body, mut row) = (json(&stored.row), stored.row);
        change(&mut body);
        write(&mut row, &body);
        let change = ScheduleChange::to(Some(stored.revision), row);
        drop(at_once(self.memory.change_schedules(vec![change])));
    }

    /// A task is cancelled; what comes of that for its series.
    pub(crate) fn with_its_series(&self, id: TaskId) {
        let Some(series) = self.series_of(id) else { return };
        if self.has(Bug::CancelTakesTheSeries) {
            self.meddle(series, |body| body["state"] = "paused".into());
        }
    }

    /// A task is revived; what comes of that for its series.
    pub(crate) fn for_its_series(&self, id: TaskId) {
        let Some(series) = self.series_of(id) else { return };
        if self.has(Bug::RevivedIsARun) {
            self.meddle(series, |body| add(body, "runs", 1));
        }
    }

    /// The tasks by which ticks are made up for, as somebody makes them who gets it wrong.
    pub(crate) fn made_up(&self, mut tasks: Vec<NewTask>, asked: Option<Asked>) -> Vec<NewTask> {
        if asked.is_none() {
            return tasks;
        }
        if self.has(Bug::MadeUpWithAGap) && tasks.len() > 1 {
            tasks.remove(0);
        }
        if self.has(Bug::MadeUpTwice) {
            tasks.iter_mut().for_each(|task| task.id = TaskId::new());
        }
        let key = tasks.first().and_then(|task| Some((&task.name, task.tags.get(SCHEDULE_TAG)?)));
        let series = key.and_then(|(name, key)| self.stored_schedule(name, key).ok().flatten());
        if let (true, Some(series)) = (self.has(Bug::MadeUpIsARun), series) {
            self.meddle(series, |body| add(body, "runs", tasks.len() as i64));
        }
        tasks
    }
}
