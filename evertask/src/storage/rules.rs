//! Rules that all storages of this crate share, so that they cannot differ: what is storable, what a verdict writes.
//!
//! Instants are in microseconds since 1970, as they are stored.

use std::{collections::HashSet, time::Duration};

use crate::{
    bounds::{
        BATCH_MAX, BadText, ERROR_MAX, KEY_MAX, NAME_MAX, TAG_MAX, TAGS_MAX, check_text,
        storable_text,
    },
    policy::Keep,
    storage::{
        AttemptRecord, Due, Effect, KeepBy, NewTask, ScheduleChange, Settled, Settlement,
        StorageError, StorageErrorKind,
        clock::{duration_micros, to_micros},
    },
    task::{AttemptEnd, TaskState},
    verdict::{SUSPECT_AFTER, Verdict},
};

/// Why a task ended that was cancelled before it ran.
pub(crate) const CANCELLED: &str = "cancelled";
/// Why a task ended that was asked to stop and then ended in some other way.
pub(crate) const CANCELLED_RUNNING: &str = "cancelled while it ran";
/// Why a task ended that was not begun in its time.
pub(crate) const EXPIRED: &str = "expired";
/// How long an expired task is kept that nobody claimed, so that nobody said how long.
pub(crate) const KEEP_EXPIRED: Keep = Keep::For(Duration::from_secs(86_400));

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

/// Refuses changes of schedules that no storage should hold.
pub(crate) fn check_changes(changes: &[ScheduleChange]) -> Result<(), StorageError> {
    let rejected = |message| Err(StorageError::new(StorageErrorKind::Rejected, message));
    let tasks: usize = changes.iter().map(|change| change.tasks.len()).sum();
    if tasks > BATCH_MAX {
        return rejected(format!(
            "schedules that make {tasks} tasks at once; at most {BATCH_MAX} fit"
        ));
    }
    let mut once = HashSet::new();
    for change in changes {
        if !once.insert((&change.name, &change.key)) {
            return rejected(format!(
                "schedule {:?} of {:?} is changed twice in one batch",
                change.key, change.name
            ));
        }
        let names = check_text("handler name", &change.name, NAME_MAX)
            .and_then(|()| check_text("schedule key", &change.key, KEY_MAX));
        if let Err(bad) = names {
            return rejected(format!("schedule {:?} of {:?}: {bad}", change.key, change.name));
        }
        change.tasks.iter().try_for_each(check_new)?;
    }
    Ok(())
}

/// What is counted about a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Tries spent.
    pub(crate) spent: u32,
    /// How often its payload could not be read.
    pub(crate) unreadable: u32,
    /// How often a node died while it ran.
    pub(crate) losses: u32,
    /// How often it was lost as a suspect, alone.
    pub(crate) lost_alone: u32,
}

impl Counters {
    /// It was lost so often that it may be what kills the nodes.
    pub(crate) fn suspect(&self) -> bool {
        self.losses >= SUSPECT_AFTER
    }
}

/// What a settlement makes of a task that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transition {
    /// The state it goes to.
    pub(crate) state: TaskState,
    /// When it is due again, from now; `None` keeps its place.
    pub(crate) delay: Option<Duration>,
    /// What is counted from now on.
    pub(crate) counters: Counters,
    /// What is said against it from now on; `None` leaves what was said before.
    pub(crate) error: Option<String>,
}

impl Transition {
    /// What this settlement makes of a task with these counters.
    pub(crate) fn of(settlement: &Settlement, cancel_asked: bool, was: Counters) -> Self {
        let verdict = &settlement.verdict;
        let spent = Counters { spent: was.spent.saturating_add(1), ..was };
        // Coming to an end by itself is what a task does that kills no node and can be read.
        let clear = Counters { unreadable: 0, losses: 0, lost_alone: 0, ..was };
        let counters = match verdict {
            Verdict::Complete | Verdict::Fail | Verdict::Cancel { .. } => spent,
            Verdict::Retry { .. } => Counters { spent: spent.spent, ..clear },
            Verdict::Snooze { .. } => clear,
            Verdict::Release | Verdict::Interrupt => was,
            Verdict::Rescue { started, alone } => Counters {
                losses: was.losses.saturating_add((*started).into()),
                lost_alone: was.lost_alone.saturating_add((*alone).into()),
                ..was
            },
            Verdict::Unreadable { .. } => {
                Counters { unreadable: was.unreadable.saturating_add(1), ..was }
            }
        };
        let delay = match verdict {
            _ if cancel_asked => None,
            Verdict::Retry { after }
            | Verdict::Snooze { after }
            | Verdict::Unreadable { after } => Some(*after),
            _ => None,
        };
        let state = if cancel_asked { TaskState::Cancelled } else { state_after(verdict) };
        let error = match verdict {
            Verdict::Cancel { reason } => Some(storable_error(reason)),
            _ if cancel_asked => Some(CANCELLED_RUNNING.to_owned()),
            _ => settlement
                .attempt
                .as_ref()
                .and_then(|attempt| attempt.error.as_deref())
                .map(storable_error),
        };
        Self { state, delay, counters, error }
    }
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

/// True if a settlement whose lease is not to be settled any more did its work before, so that its reply must have been lost.
///
/// `lease` and `state` are those of the task now, `written` is the end that is written down for the lease of the settlement.
pub(crate) fn repeated(
    settlement: &Settlement,
    lease: u64,
    state: TaskState,
    written: Option<AttemptEnd>,
) -> bool {
    match written {
        Some(end) => settlement.attempt.as_ref().is_some_and(|attempt| attempt.end == end),
        // A cancel that was asked for wins over any verdict, so any verdict may have ended as cancelled.
        None => {
            lease == settlement.lease
                && (state == state_after(&settlement.verdict) || state == TaskState::Cancelled)
        }
    }
}

/// What is said of a settlement whose task is no longer stored: it may have been what deleted it. Whether it was, only those
/// can say who know whether they sent it before.
pub(crate) fn gone(settlement: &Settlement) -> Settled {
    // A cancel that was asked for wins over any verdict.
    let ends = [state_after(&settlement.verdict), TaskState::Cancelled];
    let deletes = |state: &TaskState| keep_for(&settlement.keep, *state) == Keep::No;
    ends.into_iter().find(deletes).map_or(Settled::Refused, Settled::Gone)
}

/// Refuses effects that cannot be stored, and says why.
pub(crate) fn check_effects(effects: &[Effect]) -> Result<(), String> {
    effects.iter().try_for_each(|effect| match effect {
        Effect::Enqueue(task) => check_new(task).map_err(|error| error.to_string()),
    })
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

/// From when on a task that ends now may be deleted.
pub(crate) fn prune_at(keep: Keep, now: i64) -> Option<i64> {
    match keep {
        Keep::Forever => None,
        Keep::For(time) => Some(after(now, time)),
        Keep::No => Some(now),
    }
}

/// From when on a new task is due: an instant that has passed is now, so that nobody jumps the line.
pub(crate) fn due_at(due: Due, now: i64) -> i64 {
    match due {
        Due::Now => now,
        Due::After(delay) => after(now, delay),
        Due::At(instant) => to_micros(instant).max(now),
    }
}

/// The instant this long after another, as far off as can be stored.
pub(crate) fn after(instant: i64, delay: Duration) -> i64 {
    instant.saturating_add(duration_micros(delay))
}

/// The instant this long before another.
pub(crate) fn before(instant: i64, time: Duration) -> i64 {
    instant.saturating_sub(duration_micros(time))
}

/// How long it is from one instant to another; zero if the other came first.
pub(crate) fn between(from: i64, to: i64) -> Duration {
    Duration::from_micros(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}

/// An error text as it can be stored.
pub(crate) fn storable_error(text: &str) -> String {
    storable_text(text, ERROR_MAX)
}

/// The same attempt with texts that can be stored.
pub(crate) fn storable_attempt(attempt: &AttemptRecord) -> AttemptRecord {
    AttemptRecord {
        binary: storable_text(&attempt.binary, ERROR_MAX).into(),
        error: attempt.error.as_deref().map(storable_error),
        ..attempt.clone()
    }
}
