//! Brings what attempts came to into storage, and tells the world only after it is there.
//!
//! One write at a time: while it is under way, what ends gathers; when it returns, all of that goes as the next. An outcome is
//! kept until the storage has taken or refused it, however long that takes.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Mutex, mpsc};

use crate::{
    body::Body,
    bounds::BATCH_MAX,
    context::Context,
    event::{Event, EventKind},
    failure::Failure,
    hooks::HookCall,
    registry::Entry,
    runtime::{Shared, hooks, patience::Patience},
    storage::{ClaimedTask, Effect, Settled, Settlement, StorageError, StorageErrorKind},
    task::TaskState,
    verdict::Verdict,
};

/// How many settlements go in one write.
const BATCH: usize = 1024;
const _: () = assert!(BATCH <= BATCH_MAX);

/// How many bytes go in one write, unless a single settlement has more.
const BYTES: usize = 8 << 20;

/// An attempt's end on its way into storage, with what is to be told afterwards.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) settlement: Settlement,
    /// What may have been committed already, by a transaction of which the answer was lost. If so, the other is refused.
    pub(crate) committed: Option<Box<Settlement>>,
    name: Arc<str>,
    queue: Arc<str>,
    attempt: u32,
    pub(crate) failure: Option<Failure>,
    /// The handler, if it has hooks to call: with the context and the payload they want.
    pub(crate) hooks: Option<(Arc<Entry>, Context, Body)>,
    /// How long to wait until it is tried again, should it be refused.
    patience: Patience,
    /// The settlement was sent before, and nobody knows whether it was stored.
    unanswered: bool,
    /// It was refused by itself, and is no longer sent with others.
    alone: bool,
}

impl Ending {
    pub(crate) fn of(settlement: Settlement, task: &ClaimedTask) -> Self {
        let (name, queue) = (Arc::clone(&task.name), Arc::clone(&task.queue));
        let (attempt, patience) = (task.attempt, Patience::new());
        Self {
            settlement,
            committed: None,
            name,
            queue,
            attempt,
            failure: None,
            hooks: None,
            patience,
            unanswered: false,
            alone: false,
        }
    }

    /// How much is to be sent for it.
    fn bytes(&self) -> usize {
        let Settlement { output, attempt, effects, .. } = &self.settlement;
        let output = output.as_ref().map_or(0, |output| output.bytes.len());
        let error = attempt.as_ref().and_then(|attempt| attempt.error.as_ref());
        let stored = |Effect::Enqueue(task): &Effect| task.payload.bytes.len();
        output + error.map_or(0, String::len) + effects.iter().map(stored).sum::<usize>()
    }
}

/// Where endings are handed in.
#[derive(Debug)]
pub(crate) struct Settler {
    sender: mpsc::UnboundedSender<Ending>,
    // The desk bounds how many there can be: no more than tasks it holds.
    receiver: Mutex<mpsc::UnboundedReceiver<Ending>>,
}

impl Settler {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver: Mutex::new(receiver) }
    }

    pub(crate) fn push(&self, ending: Ending) {
        // The receiver lives as long as the sender does.
        let _both_live = self.sender.send(ending);
    }
}

/// The loop.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut receiver = shared.settler.receiver.lock().await;
    let mut endings = Vec::with_capacity(BATCH);
    let mut stored: Option<Stored> = None;
    loop {
        if receiver.is_empty()
            && let Some(stored) = stored.take()
        {
            stored.tell(&shared);
        }
        tokio::select! {
            biased;
            // The sender lives as long as we do, so there is always at least one.
            _at_least_one = receiver.recv_many(&mut endings, BATCH) => {}
            () = shared.left.wait() => break,
        }
        settle(&shared, std::mem::take(&mut endings), &mut stored).await;
    }
    // What comes now has nobody to store it, and may hold the runtime by its context.
    receiver.close();
    while receiver.try_recv().is_ok() {}
}

/// Endings that have been stored, and are told of while the next ones are on their way.
struct Stored {
    batch: Vec<Ending>,
    settled: Vec<Settled>,
}

impl Stored {
    fn tell(self, shared: &Arc<Shared>) {
        for again in tell(shared, self.batch, self.settled) {
            shared.settler.push(again);
        }
    }
}

/// Stores them all, however long it takes, and tells what came of each; of the last ones, that is left to the caller.
async fn settle(shared: &Arc<Shared>, endings: Vec<Ending>, stored: &mut Option<Stored>) {
    let mut waiting = loads(endings);
    let mut patience = Patience::new();
    while let Some(mut batch) = waiting.pop() {
        let settlements: Vec<_> = batch.iter().map(|ending| ending.settlement.clone()).collect();
        let store = shared.calls.settle.make(shared.storage.settle(settlements));
        // First it is sent: the storage need not wait until all is told.
        let (answer, ()) = tokio::join! {
            biased;
            store,
            async {
                if let Some(stored) = stored.take() {
                    stored.tell(shared);
                }
            }
        };
        match answer {
            Ok(settled) => {
                patience = Patience::new();
                *stored = Some(Stored { batch, settled });
            }
            Err(error) => {
                let (guilty, alone) = (error.may_be_of_one_item(), batch.len() == 1);
                if error.kind() != StorageErrorKind::Rejected {
                    batch.iter_mut().for_each(|ending| ending.unanswered = true);
                }
                if guilty && alone {
                    shared.trouble(&shared.calls.settle, &error);
                    batch.into_iter().for_each(|ending| again_later(shared, ending, &error));
                    continue;
                }
                // One of them is to blame, or all together take too long. Halves, until it stands alone or they pass.
                if !alone && (guilty || error.is_transient()) {
                    waiting.push(batch.split_off(batch.len() / 2));
                }
                waiting.push(batch);
                if !guilty {
                    shared.trouble(&shared.calls.settle, &error);
                    tokio::select! {
                        biased;
                        // Others have it from now on.
                        () = shared.left.wait() => return,
                        () = tokio::time::sleep(patience.wait()) => {}
                    }
                }
            }
        }
    }
}

/// Endings in their order as they go in one write each, the first of these last. What was refused before goes by itself, behind the
/// others: it would have their write refused as well, and each of them said anew.
fn loads(endings: Vec<Ending>) -> Vec<Vec<Ending>> {
    let (alone, mut endings): (Vec<_>, Vec<_>) =
        endings.into_iter().partition(|ending| ending.alone);
    let mut loads: Vec<_> = alone.into_iter().map(|ending| vec![ending]).collect();
    if endings.is_empty() {
        return loads;
    }
    let mut bytes = 0;
    for at in (0..endings.len()).rev() {
        let more = endings[at].bytes();
        if bytes + more > BYTES && bytes > 0 {
            loads.push(endings.split_off(at + 1));
            bytes = 0;
        }
        bytes += more;
    }
    loads.push(endings);
    loads
}

/// One that stands alone and is to blame: it is tried again by and by, and holds up no other.
fn again_later(shared: &Arc<Shared>, mut ending: Ending, error: &StorageError) {
    // Anything else may pass, and then it can be stored as it is.
    if error.kind() == StorageErrorKind::Rejected {
        lighten(&mut ending.settlement, &error.to_string());
    }
    later(shared, ending);
}

/// Longer each time, for as long as it takes: the lease is kept meanwhile.
fn later(shared: &Arc<Shared>, mut ending: Ending) {
    ending.alone = true;
    let wait = ending.patience.wait();
    let owned = Arc::clone(shared);
    shared.tokio.spawn(async move {
        tokio::time::sleep(wait).await;
        owned.settler.push(ending);
    });
}

/// Takes out what may be the reason why it cannot be stored. The side effects have happened: the verdict has to stand. False if there
/// is nothing left that could be.
fn lighten(settlement: &mut Settlement, why: &str) -> bool {
    const NO_TEXT: &str = "(the error text could not be stored)";
    let text = settlement.attempt.as_mut().and_then(|attempt| attempt.error.as_mut());
    if settlement.output.take().is_some() {
        settlement.output_error = Some(why.to_owned());
    } else if !settlement.effects.is_empty() {
        settlement.effects.clear();
        settlement.output_error =
            Some(format!("a task to be stored on success was refused: {why}"));
    } else if let Some(text) = text.filter(|text| *text != NO_TEXT) {
        NO_TEXT.clone_into(text);
    } else {
        return false;
    }
    true
}

/// Tells what was stored; returns what could not be stored as it was, made lighter. What cannot be any lighter is tried again by and by.
fn tell(shared: &Arc<Shared>, batch: Vec<Ending>, settled: Vec<Settled>) -> Vec<Ending> {
    let mut again = Vec::new();
    let mut gone = Vec::with_capacity(batch.len());
    for (mut ending, settled) in batch.into_iter().zip(settled) {
        // If it may have been completed in another way, then it may also have been that which deleted it.
        let by_us = ending.unanswered && ending.committed.is_none();
        match if by_us { settled.sent_before() } else { settled } {
            Settled::Applied(state) => {
                gone.push((ending.settlement.id, ending.settlement.lease));
                applied(shared, ending, state);
            }
            Settled::Refused | Settled::Gone(_) if ending.committed.is_some() => {
                // Its lease has ended, so this cannot complete it any more. It only tells whether it was completed.
                if let Some(committed) = ending.committed.take() {
                    shared.storage.bell().ended([committed.id]);
                    (ending.settlement, ending.failure) = (*committed, None);
                    ending.unanswered = true;
                    again.push(ending);
                }
            }
            Settled::Refused | Settled::Gone(_) => {
                gone.push((ending.settlement.id, ending.settlement.lease));
                tracing::warn!(
                    id = %ending.settlement.id, name = &*ending.name, lease = ending.settlement.lease,
                    "the end of an attempt was refused: another node has the task since"
                );
                shared.events.tell(|| ending.event(EventKind::LeaseLost));
            }
            Settled::Unstorable(why) => {
                tracing::error!(id = %ending.settlement.id, name = &*ending.name, why, "an outcome cannot be stored as it is");
                if lighten(&mut ending.settlement, &why) {
                    again.push(ending);
                } else {
                    later(shared, ending);
                }
            }
        }
    }
    shared.desk.gone(gone);
    again
}

/// Tells of a completion that was stored in another way.
pub(crate) fn completed(shared: &Arc<Shared>, ending: Ending) {
    tell(shared, vec![ending], vec![Settled::Applied(TaskState::Completed)]);
}

impl Ending {
    fn event(&self, kind: EventKind) -> Event {
        let (id, name, queue) =
            (self.settlement.id, Arc::clone(&self.name), Arc::clone(&self.queue));
        let event = Event::new(id, name, queue, self.attempt, kind).ran(self.settlement.ran);
        match (&self.failure, &self.settlement.verdict) {
            (Some(failure), _) => event.error(failure.message.as_str()),
            (None, Verdict::Cancel { reason }) => event.error(reason.as_str()),
            _ => event,
        }
    }
}

/// One end is stored: events, log, hooks.
fn applied(shared: &Arc<Shared>, ending: Ending, state: TaskState) {
    let verdict = &ending.settlement.verdict;
    // The state is that in which the task is by now. If the answer was lost, it may have gone on since, and what came of a later
    // attempt is not the end of this one: of what others did, only a cancel counts.
    let (kind, delay) = match (state, verdict) {
        (TaskState::Cancelled, _) | (_, Verdict::Cancel { .. }) => (EventKind::Cancelled, None),
        (_, Verdict::Complete) => (EventKind::Completed, None),
        (_, Verdict::Fail) => (EventKind::Failed, None),
        (_, Verdict::Retry { after }) => (EventKind::Retrying, Some(*after)),
        (_, Verdict::Snooze { after }) => (EventKind::Snoozed, Some(*after)),
        (_, Verdict::Unreadable { after }) => (EventKind::Unreadable, Some(*after)),
        (_, Verdict::Interrupt) => (EventKind::Interrupted, None),
        // Given back unused: nothing happened that anybody would want to know.
        (_, Verdict::Release | Verdict::Rescue { .. }) => return,
    };
    shared.events.tell(|| match delay {
        Some(delay) => ending.event(kind).delay(delay),
        None => ending.event(kind),
    });
    log(&ending, kind, delay);
    if kind == EventKind::Completed
        && let Some(why) = &ending.settlement.output_error
    {
        let (id, name) = (ending.settlement.id, &*ending.name);
        tracing::warn!(%id, name, why, "the task completed, but its output could not be stored");
        shared.events.tell(|| ending.event(EventKind::OutputLost).error(why.as_str()));
    }
    if kind == EventKind::Completed {
        for Effect::Enqueue(task) in &ending.settlement.effects {
            let event = || {
                Event::new(task.id, task.name.clone(), task.queue.clone(), 0, EventKind::Dispatched)
            };
            shared.events.tell(event);
        }
    }
    if let Some((entry, ctx, payload)) = ending.hooks
        && let Some((which, hook)) = hooks::hook_for(&entry.def.hooks, kind)
    {
        let call =
            HookCall { payload, ctx, output: ending.settlement.output, failure: ending.failure };
        hooks::spawn(shared, which, hook, call);
    }
}

fn log(ending: &Ending, kind: EventKind, delay: Option<Duration>) {
    let (id, name, attempt) = (ending.settlement.id, &*ending.name, ending.attempt);
    let again_in = delay.unwrap_or_default();
    let took = ending.settlement.ran;
    let error = ending.failure.as_ref().map_or("", |failure| failure.message.as_str());
    match kind {
        EventKind::Completed => tracing::debug!(%id, name, attempt, ?took, "completed"),
        EventKind::Retrying => {
            tracing::warn!(%id, name, attempt, ?took, error, ?again_in, "failed, will be tried again");
        }
        EventKind::Failed => tracing::error!(%id, name, attempt, ?took, error, "failed for good"),
        EventKind::Unreadable => {
            tracing::warn!(%id, name, error, ?again_in, "payload cannot be read")
        }
        EventKind::Cancelled => tracing::info!(%id, name, attempt, "cancelled"),
        EventKind::Interrupted => {
            tracing::info!(%id, name, attempt, error, "interrupted, pending again")
        }
        _ => tracing::debug!(%id, name, attempt, ?kind, "ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Claim, Known, Memory, NewTask, NodeId, Storage};

    #[tokio::test]
    async fn what_was_refused_before_goes_by_itself_behind_the_others() {
        let memory = Memory::new();
        let tasks = (0..4).map(|_| NewTask::new("t", Body::json(&()).unwrap())).collect();
        memory.enqueue(tasks).await.unwrap();
        let known: Arc<[Known]> = [Known { name: "t".into(), version: 1 }].into();
        let claim = Claim::new(1, NodeId::nil(), known, 4).queue("default", 4, 0);
        let claimed = memory.claim(claim).await.unwrap().tasks;
        let end = |task: &ClaimedTask| {
            Ending::of(Settlement::new(task.id, task.lease, Verdict::Complete), task)
        };
        let mut endings: Vec<_> = claimed.iter().map(end).collect();
        let ids: Vec<_> = claimed.iter().map(|task| task.id).collect();
        endings[1].alone = true;
        endings[3].alone = true;
        let loads = loads(endings).into_iter().rev();
        let said: Vec<Vec<_>> =
            loads.map(|load| load.iter().map(|ending| ending.settlement.id).collect()).collect();
        assert_eq!(said, [vec![ids[0], ids[2]], vec![ids[3]], vec![ids[1]]]);
    }
}
