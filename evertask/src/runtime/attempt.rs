//! One attempt: call the handler, bound it, stop it when told to, and say what came of it.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    convert::Infallible,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Once},
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, timeout};
use tracing::Instrument;

use crate::{
    context::{Context, NewContext},
    event::{Event, EventKind},
    failure::Failure,
    hooks::HookCall,
    registry::Entry,
    runtime::{
        Shared, ambient, hooks,
        own::{self, Left},
        settler::{self, Ending},
        slot::Slot,
        touch,
    },
    seat::{Ran, Seat},
    stop::Stop,
    storage::{AttemptRecord, ClaimedTask, Settlement},
    task::AttemptEnd,
    verdict::{History, Outcome, attempt_end, judge},
};

/// Runs a task, and after it whatever was taken ahead and can have its slot.
pub(crate) fn spawn(shared: &Arc<Shared>, task: ClaimedTask) {
    let owned = Arc::clone(shared);
    shared.tokio.spawn(async move {
        let mut slot = Slot::default();
        let mut next = Some(task);
        while let Some(task) = next {
            next = one(&owned, &mut slot, task).await;
        }
    });
}

/// Runs one task to its end and hands the end to the settler; returns the task that has its slot next.
async fn one(shared: &Arc<Shared>, slot: &mut Slot, task: ClaimedTask) -> Option<ClaimedTask> {
    let Some(entry) = shared.registry.get(&task.name) else {
        // Only names we know are asked for, so this cannot be ours to judge.
        let next = shared.desk.ended(&task, None);
        give_back(shared, &task);
        return next;
    };
    let ctx = slot.context(new_context(shared, &task));
    shared.desk.begun(&task, &ctx);
    let event = |kind| {
        Event::new(task.id, Arc::clone(&task.name), Arc::clone(&task.queue), task.attempt, kind)
    };
    shared.events.tell(|| event(EventKind::Started));
    if let Some((which, hook)) = hooks::hook_for(&entry.def.hooks, EventKind::Started) {
        let (payload, ctx) = (task.payload.clone(), ctx.clone());
        hooks::spawn(shared, which, hook, HookCall { payload, ctx, output: None, failure: None });
    }

    let began = Instant::now();
    let mut seat = slot.seat(entry);
    seat.as_mut().take(task.payload.clone(), ctx.clone());
    let limit = shared.settings.timeout(entry, &task);
    let span =
        tracing::info_span!("task", id = %task.id, name = &*task.name, attempt = task.attempt);
    let bounded = bounded(shared, &ctx, seat, limit);
    let ran = ambient::within(Arc::clone(shared), bounded).instrument(span).await;
    // What the handler spawned through its context ends with it, before the end is told.
    ctx.end_children().await;
    let took = began.elapsed();
    let Some(ran) = ran else {
        if let Some(own) = ctx.take_transaction() {
            own.roll_back(false).await;
        }
        // Another node has the lease: whatever we could say would be refused.
        let next = shared.desk.ended(&task, Some(took));
        shared.desk.gone([(task.id, task.lease)]);
        shared.events.tell(|| event(EventKind::LeaseLost).ran(took));
        return next;
    };
    let left = own::end(shared, entry, &task, &ctx, ran, took).await;
    let next = shared.desk.ended(&task, Some(took));
    match left {
        Left::Settle(ending) => shared.settler.push(ending),
        Left::Tell(ending) => settler::completed(shared, ending),
    }
    next
}

/// Gives a task back that never began.
pub(crate) fn give_back(shared: &Shared, task: &ClaimedTask) {
    let verdict = judge_outcome(shared, None, task, &Outcome::Unstarted);
    shared.settler.push(Ending::of(Settlement::new(task.id, task.lease, verdict), task));
}

/// Ends a task as cancelled that was held but never began.
pub(crate) fn cancel_unstarted(shared: &Arc<Shared>, task: &ClaimedTask) {
    let verdict = judge_outcome(shared, None, task, &cancelled());
    let mut settlement = Settlement::new(task.id, task.lease, verdict);
    settlement.keep = shared.keep(&task.name, &task.queue);
    let mut ending = Ending::of(settlement, task);
    ending.hooks =
        shared.registry.get(&task.name).filter(|entry| entry.def.hooks.follow_an_end()).map(
            |entry| {
                let ctx = Context::new(new_context(shared, task));
                (Arc::clone(entry), ctx, task.payload.clone())
            },
        );
    shared.settler.push(ending);
}

fn new_context(shared: &Arc<Shared>, task: &ClaimedTask) -> NewContext {
    let (name, queue) = (Arc::clone(&task.name), Arc::clone(&task.queue));
    NewContext::of(shared, task.id, task.attempt, name, queue, task.tick)
}

pub(crate) fn cancelled() -> Outcome {
    Outcome::Cancelled { reason: "cancelled while it ran".to_owned() }
}

fn judge_outcome(
    shared: &Shared,
    entry: Option<&Entry>,
    task: &ClaimedTask,
    outcome: &Outcome,
) -> crate::verdict::Verdict {
    let policy = match entry {
        Some(entry) => shared.settings.policy(entry, task),
        None => shared.settings.policy_of_unknown(),
    };
    let ClaimedTask { id, attempt, unreadable, lost_alone, .. } = *task;
    judge(outcome, &policy, &History { id, attempt, unreadable, lost_alone })
}

/// What is to be settled of an attempt that came to this.
pub(crate) fn ending(
    shared: &Shared,
    entry: &Arc<Entry>,
    task: &ClaimedTask,
    ctx: &Context,
    ran: Ran,
    took: Duration,
) -> Ending {
    let Ran { outcome, output, output_error } = ran;
    let verdict = judge_outcome(shared, Some(entry), task, &outcome);
    let failure = match &outcome {
        Outcome::Failed(failure) | Outcome::Unreadable(failure) => Some(failure.clone()),
        Outcome::Interrupted if ctx.stop().reason() == Some(Stop::CutOff) => {
            let lease = shared.settings.lease;
            let why = format!(
                "stopped, as this node had not reached the storage for its lease of {lease:?}"
            );
            Some(Failure::new(AttemptEnd::Interrupted, why))
        }
        _ => None,
    };
    let record = attempt_end(&outcome).map(|end| {
        let binary = Arc::clone(&shared.settings.binary);
        AttemptRecord::new(shared.node.id, binary, end, failure.as_ref())
    });
    let mut settlement = Settlement::new(task.id, task.lease, verdict);
    settlement.output = output;
    settlement.output_error = output_error;
    settlement.attempt = record;
    settlement.keep = shared.settings.keep(Some(entry.def.options.name), &task.queue);
    settlement.ran = took;
    settlement.effects = ctx.take_effects();
    let mut ending = Ending::of(settlement, task);
    ending.failure = failure;
    if entry.def.hooks.follow_an_end() {
        ending.hooks = Some((Arc::clone(entry), ctx.clone(), task.payload.clone()));
    }
    ending
}

/// The handler with everything that may end it. `None`: the lease was lost, and there is nothing to say.
async fn bounded(
    shared: &Shared,
    ctx: &Context,
    seat: Pin<&mut dyn Seat>,
    limit: Option<Duration>,
) -> Option<Ran> {
    let nothing = |outcome| Ran { outcome, output: None, output_error: None };
    let mut handler = Caught::new(seat, ctx);
    let within_limit = async {
        match limit {
            None => Ok(handler.run().await),
            Some(limit) => timeout(limit, handler.run()).await.map_err(|_| limit),
        }
    };
    // A process that was stopped for long finds its timers out when it moves again, and others may have its tasks by then: so before
    // the handler goes on it is asked whether it still may.
    let in_touch = poll_fn(|_| {
        touch::stop_if_out_of_touch(shared);
        Poll::<Infallible>::Pending
    });
    let stop = tokio::select! {
        biased;
        never = in_touch => match never {},
        stop = ctx.stop().wait() => stop,
        ended = within_limit => match ended {
            Ok(ran) => return Some(ran),
            Err(limit) => {
                handler.drop_now();
                let message = format!("took longer than its timeout of {limit:?}");
                return Some(nothing(Outcome::Failed(Failure::new(AttemptEnd::TimedOut, message))));
            }
        },
    };
    // Told to stop: those who asked to be told have a moment to end by themselves.
    let graceful = if ctx.has_asked() {
        timeout(shared.settings.grace, handler.run()).await.ok()
    } else {
        None
    };
    handler.drop_now();
    match (ctx.stop().reason().unwrap_or(stop), graceful) {
        (Stop::Lost, _) => None,
        (_, Some(ran)) if ran.outcome == Outcome::Completed => Some(ran),
        (Stop::Cancel, _) => Some(nothing(cancelled())),
        (Stop::Shutdown | Stop::CutOff, _) => Some(nothing(Outcome::Interrupted)),
    }
}

/// A call of a handler, in which a panic is an outcome. It leaves its seat with this.
struct Caught<'a> {
    seat: Pin<&'a mut dyn Seat>,
    ctx: &'a Context,
}

impl<'a> Caught<'a> {
    fn new(seat: Pin<&'a mut dyn Seat>, ctx: &'a Context) -> Self {
        note_panics();
        Self { seat, ctx }
    }

    async fn run(&mut self) -> Ran {
        let caught = poll_fn(|cx| {
            self.ctx.set_polled(true);
            let polled = watched(|| self.seat.as_mut().poll(cx));
            self.ctx.set_polled(false);
            match polled {
                Ok(poll) => poll.map(Ok),
                Err(panic) => Poll::Ready(Err(panic)),
            }
        });
        let caught = caught.await;
        self.drop_now();
        caught.unwrap_or_else(|message| {
            let failure = Failure::new(AttemptEnd::Panicked, message);
            Ran { outcome: Outcome::Failed(failure), output: None, output_error: None }
        })
    }

    /// Drops the future. A panic in there has nobody to tell but the log: the outcome is known by now.
    fn drop_now(&mut self) {
        if let Err(panic) = watched(|| self.seat.as_mut().clear()) {
            tracing::warn!(panic, "a handler's future panicked while it was dropped");
        }
    }
}

impl Drop for Caught<'_> {
    fn drop(&mut self) {
        self.drop_now();
    }
}

thread_local! {
    /// A handler is being polled on this thread.
    static POLLING: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic in a handler on this thread came from.
    static PANICKED_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Calls into a handler; a panic comes back as its message and place.
fn watched<R>(call: impl FnOnce() -> R) -> Result<R, String> {
    let outer = POLLING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    POLLING.set(outer);
    result.map_err(|panic| {
        let place = PANICKED_AT.take().map(|at| format!(" at {at}")).unwrap_or_default();
        format!("panicked{place}: {}", panic_message(&*panic))
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("(no message)")
}

/// A caught panic no longer knows where it came from; only the panic hook does. Ours notes the place for panics in handlers
/// and then calls the one that was there before.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if POLLING.get() {
                PANICKED_AT.set(info.location().map(ToString::to_string));
            }
            before(info);
        }));
    });
}
