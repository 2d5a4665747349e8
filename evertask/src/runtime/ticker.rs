//! Takes the ticks of schedules: each by compare-and-set, in the commit that stores its tasks. No leader.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{
    event::{Event, EventKind},
    runtime::{
        Shared,
        patience::{Patience, jittered},
    },
    storage::{ScheduleChange, ScheduleChanged, StorageError, StoredSchedule},
    tick::{FORMAT, Record, ScheduleState, Turn, decide},
};

/// How many schedules are looked at in one go.
const AT_ONCE: usize = 100;
/// How often to look where nothing rings.
const SAFETY: Duration = Duration::from_secs(120);
/// Least time between two looks for which nothing had come up: whoever rings need not mean us.
const PAUSE: Duration = Duration::from_millis(50);

/// The loop.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut rung = shared.storage.bell().listen_schedules();
    let mut patience = Patience::new();
    loop {
        rung.mark_unchanged();
        let wait = match look(&shared).await {
            Ok(wait) => {
                patience = Patience::new();
                wait
            }
            Err(error) => {
                shared.trouble(&shared.calls.tick, &error);
                patience.wait()
            }
        };
        let at = Instant::now() + wait;
        tokio::select! {
            () = sleep_until(at) => {}
            heard = rung.changed() => {
                if heard.is_err() {
                    return;
                }
                tokio::time::sleep(PAUSE.min(wait)).await;
            }
            () = shared.draining.wait() => return,
        }
    }
}

/// Takes what has come up; returns how long until something does.
async fn look(shared: &Arc<Shared>) -> Result<Duration, StorageError> {
    let handlers = Arc::clone(&shared.node.handlers);
    let looked =
        shared.calls.tick.make(shared.storage.due_schedules(handlers, FORMAT, AT_ONCE)).await?;
    let mut changes = Vec::with_capacity(looked.due.len());
    let mut rows = 0;
    for schedule in &looked.due {
        let turn = decide(&schedule.row, schedule.last_state, looked.now);
        rows += turn.tasks.len();
        // The rest stays due for the next look.
        if rows > crate::bounds::BATCH_MAX {
            break;
        }
        tell(shared, schedule, &turn);
        if let Some(id) = turn.cancel {
            // Before the tick is taken: should we die in between, whoever takes it cancels it again.
            shared.cancel(id).await?;
        }
        changes.push(ScheduleChange::to(Some(schedule.revision), turn.row).with_tasks(turn.tasks));
    }
    let nothing = changes.is_empty();
    if !nothing {
        let taken =
            shared.calls.tick.make(shared.storage.change_schedules(changes.clone())).await?;
        for (change, taken) in changes.iter().zip(taken) {
            if let ScheduleChanged::Done(enqueued) = taken {
                shared.tell_dispatched(&change.tasks, &enqueued);
            }
        }
        // What was missed may go on; what was stale, another node has taken.
        return Ok(Duration::ZERO);
    }
    Ok(looked.next_in.unwrap_or(SAFETY).min(jittered(SAFETY)).max(Duration::from_millis(1)))
}

fn tell(shared: &Shared, schedule: &StoredSchedule, turn: &Turn) {
    let (name, key) = (&*schedule.row.name, &*schedule.row.key);
    if turn.skipped > 0 {
        tracing::info!(
            name,
            key,
            skipped = turn.skipped,
            "ticks made no task: the one before is not done"
        );
    }
    if turn.row.next.is_some() {
        return;
    }
    match Record::read(&turn.row).map(|record| record.state) {
        Ok(ScheduleState::Ended) => tracing::info!(name, key, "the schedule came to its end"),
        state => {
            let why = match state {
                Ok(ScheduleState::Broken(why)) | Err(why) => why,
                Ok(other) => format!("{other:?}"),
            };
            tracing::error!(
                name,
                key,
                why,
                "the schedule cannot be read and is set aside; store it again under its key"
            );
            let text =
                format!("schedule {key:?} of `{name}` cannot be read and is set aside: {why}");
            shared.events.tell(|| Event::of_node(EventKind::Trouble).error(text));
        }
    }
}
