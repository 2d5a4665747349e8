//! Schedules: changed by compare-and-set, found by when they come up.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use uuid::Uuid;

use super::table::Table;
use crate::{
    bounds::PAGE_MAX,
    storage::{
        DueSchedules, Known, ScheduleChange, ScheduleChanged, SchedulePage, ScheduleRow,
        StoredSchedule,
        clock::{from_micros, to_micros},
        rules,
    },
    task::TaskState,
};

type Identity = (Arc<str>, Arc<str>);

/// The schedules of one memory.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    rows: BTreeMap<Identity, (ScheduleRow, Uuid)>,
    /// Those that come up by themselves: name, when, key.
    next: BTreeSet<(Arc<str>, i64, Arc<str>)>,
}

impl Schedules {
    fn put(&mut self, id: Identity, row: Option<(ScheduleRow, Uuid)>) {
        let (name, key) = id.clone();
        if let Some((ScheduleRow { next: Some(at), .. }, _)) = self.rows.remove(&id) {
            self.next.remove(&(name.clone(), to_micros(at), key.clone()));
        }
        if let Some((row, revision)) = row {
            self.next.extend(row.next.map(|at| (name, to_micros(at), key)));
            self.rows.insert(id, (row, revision));
        }
    }
}

impl Table {
    pub(super) fn change_schedule(&mut self, change: ScheduleChange, now: i64) -> ScheduleChanged {
        let ScheduleChange { name, key, from, revision, to, tasks } = change;
        let at = self.schedules.rows.get(&(name.clone(), key.clone())).map(|(_, at)| *at);
        let repeated = match to {
            Some(_) => at == Some(revision),
            None => at.is_none(),
        };
        if !repeated && at != from {
            return ScheduleChanged::Stale;
        }
        if !repeated {
            let to = to.map(|row| {
                // To the microsecond, as the databases have it.
                let next = row.next.map(|at| from_micros(to_micros(at)));
                (ScheduleRow { next, ..row }, revision)
            });
            self.schedules.put((name, key), to);
            self.rings.schedules = true;
        }
        ScheduleChanged::Done(tasks.into_iter().map(|task| self.enqueue_one(task, now)).collect())
    }

    pub(super) fn due_schedules(
        &self,
        handlers: &[Known],
        format: u32,
        limit: usize,
        now: i64,
    ) -> DueSchedules {
        let names: BTreeSet<&Arc<str>> = handlers.iter().map(|known| &known.name).collect();
        let mut due = Vec::new();
        let mut later: Option<i64> = None;
        for name in names {
            let of_name = (name.clone(), i64::MIN, Arc::from(""))..;
            let of_name = self.schedules.next.range(of_name).take_while(|(of, ..)| of == name);
            let mut found = 0;
            for (_, at, key) in of_name {
                let Some((row, _)) = self.schedules.rows.get(&(name.clone(), key.clone())) else {
                    continue;
                };
                if row.format > format {
                    continue;
                }
                if *at > now || found > limit {
                    later = Some(later.map_or(*at, |sooner| sooner.min(*at)));
                    break;
                }
                due.push((*at, name, key));
                found += 1;
            }
        }
        due.sort();
        let left_over = due.get(limit).map(|_| now);
        due.truncate(limit);
        let found = due.iter().filter_map(|(_, name, key)| self.schedule(name, key));
        DueSchedules {
            now: from_micros(now),
            due: found.collect(),
            next_in: left_over.or(later).map(|at| rules::between(now, at)),
        }
    }

    pub(super) fn schedule(&self, name: &str, key: &str) -> Option<StoredSchedule> {
        let (row, revision) = self.schedules.rows.get(&(name.into(), key.into()))?;
        Some(StoredSchedule::new(row.clone(), *revision, self.last_state(row)))
    }

    fn last_state(&self, row: &ScheduleRow) -> Option<TaskState> {
        Some(self.rows.get(&row.last?)?.state)
    }

    pub(super) fn list_schedules(&self, page: &SchedulePage) -> Vec<StoredSchedule> {
        let from = match (&page.after, &page.name) {
            (Some((name, key)), _) => Bound::Excluded((name.as_str().into(), key.as_str().into())),
            (None, Some(name)) => Bound::Included((name.as_str().into(), "".into())),
            (None, None) => Bound::Unbounded,
        };
        let rows = self.schedules.rows.range((from, Bound::Unbounded));
        let wanted = |row: &ScheduleRow| page.name.as_ref().is_none_or(|name| **name == *row.name);
        rows.filter(|(_, (row, _))| wanted(row))
            .take(page.limit.clamp(1, PAGE_MAX))
            .map(|(_, (row, revision))| {
                StoredSchedule::new(row.clone(), *revision, self.last_state(row))
            })
            .collect()
    }
}
