//! ∅ → pending, and what a key makes of it.

use std::sync::Arc;

use super::{row::Row, table::Table};
use crate::{
    bounds::BATCH_MAX,
    storage::{Dispatched, Enqueued, NewTask, StorageError, StorageErrorKind, rules},
    task::TaskState,
};

impl Table {
    pub(super) fn enqueue(
        &mut self,
        tasks: Vec<NewTask>,
        now: i64,
    ) -> Result<Vec<Enqueued>, StorageError> {
        if tasks.len() > BATCH_MAX {
            let message = format!("a batch of {} tasks; at most {BATCH_MAX} fit", tasks.len());
            return Err(StorageError::new(StorageErrorKind::Rejected, message));
        }
        tasks.iter().try_for_each(rules::check_new)?;
        Ok(tasks.into_iter().map(|task| self.enqueue_one(task, now)).collect())
    }

    /// Stores a task that has been checked.
    pub(super) fn enqueue_one(&mut self, task: NewTask, now: i64) -> Enqueued {
        if self.rows.contains_key(&task.id) {
            self.rings.again();
            return Enqueued { id: task.id, how: Dispatched::Created };
        }
        if let Some(id) = self.index.replaced_by(task.id) {
            self.rings.again();
            return Enqueued { id, how: Dispatched::Replaced };
        }
        let key = task.key.as_deref().map(Arc::from);
        let holder = key.and_then(|key| self.index.holder(&task.name, &key));
        let Some(holder) = holder.and_then(|id| self.rows.get(&id)) else {
            let id = task.id;
            self.insert(Row::new(task, now), now);
            return Enqueued { id, how: Dispatched::Created };
        };
        let id = holder.id;
        if holder.state == TaskState::Running {
            return Enqueued { id, how: Dispatched::Existing };
        }
        self.update(id, now, |row| row.replace(task, now));
        Enqueued { id, how: Dispatched::Replaced }
    }
}
