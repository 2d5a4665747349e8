//! Takes the ticks of schedules: each by compare-and-set, in the commit that stores its tasks. No leader.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep_until};

use crate::{
    bounds::{BATCH_MAX, PAGE_MAX},
    chance::jittered,
    event::{Event, EventKind},
    runtime::{Shared, patience::Patience},
    storage::{
        BoxFuture, ScheduleChange, ScheduleChanged, ScheduleRow, StorageError, StorageErrorKind,
        StoredSchedule,
    },
    task::TaskId,
    tick::{self, FORMAT, ON_TIME, Record, ScheduleState, Turn, broken, decide},
};

/// How many schedules are taken in one go.
const AT_ONCE: usize = 100;
const _: () = assert!(AT_ONCE * tick::AT_ONCE <= BATCH_MAX, "all they make fits in one commit");
/// How often to look where nothing rings.
const SAFETY: Duration = Duration::from_secs(120);
/// Least time between two looks for which nothing had come up: whoever rings need not mean us.
const PAUSE: Duration = Duration::from_millis(50);
/// How soon to look again what others may do.
const LEFT: Duration = Duration::from_secs(5);
/// How long a schedule is put off that nobody who lives can read.
const PUT_OFF: Duration = Duration::from_secs(600);

/// The loop.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut rung = shared.storage.bell().listen_schedules();
    let mut patience = Patience::new();
    // How many of those that have come up are left to others, and would else fill the look.
    let mut left = 0;
    loop {
        rung.mark_unchanged();
        let wait = match look(&shared, &mut left).await {
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
            biased;
            () = shared.draining.wait() => return,
            () = sleep_until(at) => {}
            heard = rung.changed() => {
                if heard.is_err() {
                    return;
                }
                tokio::time::sleep(PAUSE.min(wait)).await;
            }
        }
    }
}

/// Takes what has come up; returns how long until something does.
async fn look(shared: &Arc<Shared>, left: &mut usize) -> Result<Duration, StorageError> {
    let handlers = Arc::clone(&shared.node.handlers);
    let limit = (AT_ONCE + *left).min(PAGE_MAX);
    let looked = shared.calls.tick.make(shared.storage.due_schedules(handlers, FORMAT, limit));
    let looked = looked.await?;
    let mut turns = Vec::with_capacity(looked.due.len().min(AT_ONCE));
    *left = 0;
    for schedule in looked.due.iter() {
        match decide(&schedule.row, schedule.last_state, looked.now) {
            Ok(turn) => turns.push((schedule, turn)),
            Err(why) => match put_off(shared, &schedule.row, &why, looked.now) {
                Some(turn) => turns.push((schedule, turn)),
                None => *left += 1,
            },
        }
        if turns.len() == AT_ONCE {
            break;
        }
    }
    if turns.is_empty() {
        let mut wait = looked.next_in.unwrap_or(SAFETY).min(jittered(SAFETY));
        if *left > 0 {
            // The look is full, or would be again.
            wait = if wait.is_zero() { LEFT } else { wait.min(LEFT) };
        }
        return Ok(wait.max(Duration::from_millis(1)));
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

/// What is beyond this program is left to those who can read it; they take it at once. If nobody has for a while, nobody who lives
/// can: then it is put off, as it is, so that it stands in nobody's way until one comes that can.
fn put_off(shared: &Shared, row: &ScheduleRow, why: &str, now: SystemTime) -> Option<Turn> {
    let late = now.duration_since(row.next.unwrap_or(now)).unwrap_or_default();
    if late < ON_TIME {
        return None;
    }
    let (name, key) = (&*row.name, &*row.key);
    tracing::error!(
        name,
        key,
        why,
        "no program that runs here can read this schedule; it is put off"
    );
    let text = format!("schedule {key:?} of `{name}` is beyond this program and put off: {why}");
    shared.events.tell(|| Event::of_schedule(EventKind::Trouble, name, key).error(text));
    Some(Turn::only(ScheduleRow { next: Some(now + PUT_OFF), ..row.clone() }))
}

/// Takes one tick, or sets its schedule aside if what it makes cannot be stored.
async fn take_alone(
    shared: &Arc<Shared>,
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
async fn take(shared: &Arc<Shared>, turns: &[(&StoredSchedule, Turn)]) -> Result<(), StorageError> {
    let change = |(schedule, turn): &(&StoredSchedule, Turn)| {
        ScheduleChange::to(Some(schedule.revision), turn.row.clone()).with_tasks(turn.tasks.clone())
    };
    let changes = turns.iter().map(change).collect();
    let taken = shared.calls.tick.make(shared.storage.change_schedules(changes)).await?;
    let mut cancelled = Ok(());
    for ((_, turn), taken) in turns.iter().zip(taken) {
        if let ScheduleChanged::Done(enqueued) = taken {
            shared.tell_dispatched(&turn.tasks, &enqueued);
            tell(shared, turn);
            if let Some(id) = turn.cancel {
                // Only now that a tick waits to take its place. Should we die before, that comes up by itself and cancels it.
                cancelled = cancelled.and(shared.cancel(id).await.map(drop));
            }
            if let Some((id, most)) = turn.waits_for {
                let hear = hear_of(Arc::clone(shared), turn.row.clone(), id, most);
                drop(shared.tokio.spawn(hear));
            }
        }
    }
    cancelled
}

/// A tick waits for the end of this task: it is taken at once if that ends in our hearing. If not, or if we do not live to hear
/// it, the schedule comes up again by itself after `most`, to be asked.
fn hear_of(
    shared: Arc<Shared>,
    row: ScheduleRow,
    id: TaskId,
    most: Duration,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let ended = shared.storage.bell().listen_ended(id);
        let hear = async {
            // What has ended before we listened is not heard any more.
            if waits(&shared, &row).await? {
                tokio::select! {
                    biased;
                    () = ended => drop(waits(&shared, &row).await?),
                    () = tokio::time::sleep(most) => {}
                    () = shared.draining.wait() => {}
                }
            }
            Ok(())
        };
        let heard: Result<(), StorageError> = hear.await;
        if let Err(error) = heard {
            let (name, key) = (&*row.name, &*row.key);
            tracing::debug!(name, key, %error, "a tick that waits could not be looked at");
        }
    })
}

/// Whether the tick has to wait longer. If not, it is taken.
async fn waits(shared: &Arc<Shared>, row: &ScheduleRow) -> Result<bool, StorageError> {
    let (name, key) = (row.name.to_string(), row.key.to_string());
    let Some(found) = shared.storage.schedule(name, key).await? else { return Ok(false) };
    if found.row != *row {
        return Ok(false);
    }
    if found.last_state.is_some_and(|state| !state.is_final()) {
        return Ok(true);
    }
    let now = shared.storage_now().await?;
    if let Ok(turn) = decide(&found.row, found.last_state, now) {
        take_alone(shared, &found, turn).await?;
    }
    Ok(false)
}

fn tell(shared: &Shared, turn: &Turn) {
    let (name, key) = (&*turn.row.name, &*turn.row.key);
    let event = |kind, text: String| {
        shared.events.tell(|| Event::of_schedule(kind, name, key).error(text));
    };
    if !turn.skipped.none() {
        let skipped = turn.skipped;
        tracing::info!(name, key, %skipped, "ticks made no task");
        event(EventKind::TicksSkipped, skipped.to_string());
    }
    if turn.row.next.is_some() {
        return;
    }
    let why = match Record::read(&turn.row) {
        Ok(Record { state: ScheduleState::Broken(why), .. }) | Err(why) => why,
        Ok(record) => return shared.tell_end(&record, name, key),
    };
    shared.set_aside.add(&turn.row.name, &turn.row.key);
    tracing::error!(
        name,
        key,
        why,
        "the schedule makes no sense as it is stored and is set aside; store it again under its key"
    );
    event(EventKind::ScheduleBroken, why);
}
