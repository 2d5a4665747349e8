//! Takes the ticks of schedules: each by compare-and-set, in the commit that stores its tasks. No leader.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{
    bounds::BATCH_MAX,
    event::{Event, EventKind},
    runtime::{
        Shared,
        patience::{Patience, jittered},
    },
    storage::{ScheduleChange, ScheduleChanged, StorageError, StorageErrorKind, StoredSchedule},
    tick::{self, FORMAT, Record, ScheduleState, Turn, broken, decide},
};

/// How many schedules are looked at in one go.
const AT_ONCE: usize = 100;
const _: () = assert!(AT_ONCE * tick::AT_ONCE <= BATCH_MAX, "all they make fits in one commit");
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
    if looked.due.is_empty() {
        let wait = looked.next_in.unwrap_or(SAFETY).min(jittered(SAFETY));
        return Ok(wait.max(Duration::from_millis(1)));
    }
    let mut turns = Vec::with_capacity(looked.due.len());
    for schedule in &looked.due {
        let turn = decide(&schedule.row, schedule.last_state, looked.now);
        if let Some(id) = turn.cancel {
            // Before the tick is taken: should we die in between, whoever takes it cancels it again.
            shared.cancel(id).await?;
        }
        turns.push((schedule, turn));
    }
    match take(shared, &turns).await {
        // One that cannot be stored must not stop the others.
        Err(error) if error.kind() == StorageErrorKind::Rejected => {
            for (schedule, turn) in turns {
                take_alone(shared, schedule, turn).await?;
            }
        }
        taken => taken?,
    }
    // What was missed may go on; what was stale, another node has taken.
    Ok(Duration::ZERO)
}

/// Takes one tick, or sets its schedule aside if what it makes cannot be stored.
async fn take_alone(
    shared: &Shared,
    schedule: &StoredSchedule,
    turn: Turn,
) -> Result<(), StorageError> {
    match take(shared, &[(schedule, turn)]).await {
        Err(error) if error.kind() == StorageErrorKind::Rejected => {
            let broken = broken(&schedule.row, error.to_string());
            take(shared, &[(schedule, broken)]).await
        }
        taken => taken,
    }
}

/// Takes these ticks, each for itself, and tells of those that were ours to take.
async fn take(shared: &Shared, turns: &[(&StoredSchedule, Turn)]) -> Result<(), StorageError> {
    let change = |(schedule, turn): &(&StoredSchedule, Turn)| {
        ScheduleChange::to(Some(schedule.revision), turn.row.clone()).with_tasks(turn.tasks.clone())
    };
    let changes = turns.iter().map(change).collect();
    let taken = shared.calls.tick.make(shared.storage.change_schedules(changes)).await?;
    for ((_, turn), taken) in turns.iter().zip(taken) {
        if let ScheduleChanged::Done(enqueued) = taken {
            shared.tell_dispatched(&turn.tasks, &enqueued);
            tell(shared, turn);
        }
    }
    Ok(())
}

fn tell(shared: &Shared, turn: &Turn) {
    let (name, key) = (&*turn.row.name, &*turn.row.key);
    if turn.skipped > 0 {
        let skipped = turn.skipped;
        tracing::info!(name, key, skipped, "ticks made no task: the one before is not done");
    }
    if turn.row.next.is_some() {
        return;
    }
    let why = match Record::read(&turn.row).map(|record| record.state) {
        Ok(ScheduleState::Broken(why)) | Err(why) => why,
        Ok(_) => return tracing::info!(name, key, "the schedule came to its end"),
    };
    tracing::error!(
        name,
        key,
        why,
        "the schedule makes no sense as it is stored and is set aside; store it again under its key"
    );
    let text = format!("schedule {key:?} of `{name}` is set aside: {why}");
    shared.events.tell(|| Event::of_node(EventKind::Trouble).error(text));
}
