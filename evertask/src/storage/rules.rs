//! Rules that all storages of this crate share, so that they cannot differ: what is storable, what a verdict writes.

use crate::{
    bounds::{BadText, KEY_MAX, NAME_MAX, TAG_MAX, TAGS_MAX, check_text},
    policy::Keep,
    storage::{KeepBy, NewTask, StorageError, StorageErrorKind},
    task::TaskState,
    verdict::Verdict,
};

/// Refuses a task that no storage should hold.
pub(crate) fn check_new(task: &NewTask) -> Result<(), StorageError> {
    let texts = || -> Result<(), BadText> {
        check_text("handler name", &task.name, NAME_MAX)?;
        check_text("queue name", &task.queue, NAME_MAX)?;
        if let Some(key) = &task.key {
            check_text("key", key, KEY_MAX)?;
        }
        for (key, value) in &task.tags {
            check_text("tag key", key, TAG_MAX)?;
            check_text("tag value", value, TAG_MAX)?;
        }
        Ok(())
    };
    texts().map_err(|bad| {
        StorageError::new(StorageErrorKind::Rejected, format!("task {}: {bad}", task.id))
    })?;
    if task.tags.len() > TAGS_MAX {
        let message = format!("task {}: {} tags; at most {TAGS_MAX} fit", task.id, task.tags.len());
        return Err(StorageError::new(StorageErrorKind::Rejected, message));
    }
    Ok(())
}

/// The state a verdict leads to, where no cancel was asked for.
pub(crate) fn state_after(verdict: &Verdict) -> TaskState {
    match verdict {
        Verdict::Complete => TaskState::Completed,
        Verdict::Fail => TaskState::Failed,
        Verdict::Cancel { .. } => TaskState::Cancelled,
        Verdict::Retry { .. }
        | Verdict::Snooze { .. }
        | Verdict::Release
        | Verdict::Interrupt
        | Verdict::Rescue { .. }
        | Verdict::Unreadable { .. } => TaskState::Pending,
    }
}

/// How long a task is kept that ended in this state.
pub(crate) fn keep_for(keep: &KeepBy, state: TaskState) -> Keep {
    match state {
        TaskState::Completed => keep.completed,
        TaskState::Failed => keep.failed,
        TaskState::Cancelled => keep.cancelled,
        TaskState::Pending | TaskState::Running => Keep::Forever,
    }
}
