//! What happens to tasks from outside of an attempt: cancel, revive, prune.

use super::{row::Row, table::Table};
use crate::{
    policy::Keep,
    storage::{Cancel, Pruned, Revive, rules},
    task::{TaskId, TaskState},
};

/// How many tasks one round of pruning deletes at most.
const PRUNE_MAX: usize = 10_000;

impl Table {
    pub(super) fn cancel(&mut self, id: TaskId, keep: Keep, now: i64) -> Cancel {
        let Some(row) = self.rows.get_mut(&id) else { return Cancel::Unknown };
        match row.state {
            TaskState::Pending => {
                self.end(id, now, TaskState::Cancelled, keep, |row| {
                    row.rare.place().error = Some(rules::CANCELLED.to_owned());
                });
                Cancel::Done
            }
            TaskState::Running => {
                row.rare.place().cancel_asked = true;
                self.rings.orders = true;
                Cancel::Asked
            }
            ended => Cancel::TooLate(ended),
        }
    }

    pub(super) fn revive(&mut self, id: TaskId, now: i64) -> Revive {
        let Some(row) = self.rows.get(&id) else { return Revive::Unknown };
        match row.state {
            TaskState::Running => Revive::Running,
            TaskState::Pending => {
                self.update(id, now, |row| row.due = row.due.min(now));
                Revive::Hastened
            }
            TaskState::Completed | TaskState::Failed | TaskState::Cancelled => {
                let key = row.rare.key.as_ref();
                if let Some(holder) = key.and_then(|key| self.index.holder(&row.name, key)) {
                    return Revive::KeyTaken(holder);
                }
                self.update(id, now, |row| row.revive(now));
                Revive::Revived
            }
        }
    }

    pub(super) fn prune(&mut self, limit: usize, now: i64) -> Pruned {
        let limit = limit.min(PRUNE_MAX);
        let out_of_time = |&&(at, _): &&(i64, TaskId)| at <= now;
        let ids = |&(_, id): &(i64, TaskId)| id;
        let deleted: Vec<TaskId> =
            self.index.prunes.iter().take_while(out_of_time).take(limit).map(ids).collect();
        let expired: Vec<TaskId> =
            self.index.expiries.iter().take_while(out_of_time).take(limit).map(ids).collect();
        let mut pruned = Pruned { deleted: deleted.len(), ..Pruned::default() };
        for id in deleted {
            self.remove(id);
        }
        for id in expired {
            pruned.expired.extend(self.rows.get(&id).map(Row::ended));
            self.end(id, now, TaskState::Cancelled, rules::KEEP_EXPIRED, |row| {
                row.rare.place().error = Some(rules::EXPIRED.to_owned());
            });
        }
        let firsts = [self.index.prunes.first(), self.index.expiries.first()];
        let next = firsts.into_iter().flatten().map(|(at, _)| *at).min();
        pruned.next = next.map(|at| rules::between(now, at));
        pruned
    }
}
