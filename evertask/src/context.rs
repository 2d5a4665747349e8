//! What an attempt knows about itself.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use tokio::task::JoinSet;

use crate::{
    bounds::EFFECTS_MAX,
    dispatch::Dispatch,
    error::DispatchError,
    event::{Event, EventKind},
    extract::{State, States},
    handler::Handler,
    runtime::{Runtime, Shared, ambient},
    stop::StopSignal,
    storage::Effect,
    task::TaskId,
    tx::OwnTransaction,
};

/// The running attempt, seen from inside: who it is, whether it is to stop, what belongs to it.
///
/// A parameter of type `Context` gets it; cheap to clone. In a unit test, [`Context::test`] makes one.
#[derive(Debug, Clone)]
pub struct Context(Arc<Attempt>);

#[derive(Debug)]
struct Attempt {
    id: TaskId,
    attempt: u32,
    name: Arc<str>,
    queue: Arc<str>,
    tick: Option<SystemTime>,
    states: Arc<States>,
    runtime: Option<Arc<Shared>>,
    stop: StopSignal,
    /// The handler wants to be told before it is stopped.
    asked: AtomicBool,
    /// The handler is being polled at this moment.
    polled: AtomicBool,
    children: Mutex<Children>,
    effects: Mutex<Vec<Effect>>,
    /// What the handler writes in one transaction with its completion, if it takes a [`Tx`](crate::Tx).
    transaction: Mutex<Option<OwnTx>>,
}

struct OwnTx(Arc<dyn OwnTransaction>);

impl fmt::Debug for OwnTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnTx")
    }
}

/// What a handler runs beside itself.
#[derive(Debug, Default)]
enum Children {
    #[default]
    None,
    Some(JoinSet<()>),
    /// The attempt is over: there will be no more.
    Over,
}

/// The parts of a context that come from outside.
pub(crate) struct NewContext {
    id: TaskId,
    attempt: u32,
    name: Arc<str>,
    queue: Arc<str>,
    tick: Option<SystemTime>,
    states: Arc<States>,
    runtime: Option<Arc<Shared>>,
}

impl NewContext {
    /// Those of an attempt, or of a hook, of a task on this node.
    pub(crate) fn of(
        runtime: &Arc<Shared>,
        id: TaskId,
        attempt: u32,
        name: Arc<str>,
        queue: Arc<str>,
        tick: Option<SystemTime>,
    ) -> Self {
        let (states, runtime) = (Arc::clone(&runtime.states), Some(Arc::clone(runtime)));
        Self { id, attempt, name, queue, tick, states, runtime }
    }

    fn test() -> Self {
        Self {
            id: TaskId::new(),
            attempt: 1,
            name: "test".into(),
            queue: "default".into(),
            tick: None,
            states: Arc::default(),
            runtime: None,
        }
    }
}

impl Attempt {
    fn new(new: NewContext) -> Self {
        let NewContext { id, attempt, name, queue, tick, states, runtime } = new;
        Self {
            id,
            attempt,
            name,
            queue,
            tick,
            states,
            runtime,
            stop: StopSignal::default(),
            asked: AtomicBool::new(false),
            polled: AtomicBool::new(false),
            children: Mutex::default(),
            effects: Mutex::default(),
            transaction: Mutex::default(),
        }
    }
}

impl Context {
    pub(crate) fn new(new: NewContext) -> Self {
        Self(Arc::new(Attempt::new(new)))
    }

    /// Becomes another context, in the place of this one unless somebody has kept that.
    pub(crate) fn renew(&mut self, new: NewContext) {
        match Arc::get_mut(&mut self.0) {
            Some(place) => *place = Attempt::new(new),
            None => *self = Self::new(new),
        }
    }

    /// A context for calling a handler as the plain fn it is: first attempt of a task named `test`, never cancelled.
    #[must_use]
    pub fn test() -> Self {
        Self::new(NewContext::test())
    }

    /// The task.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.0.id
    }

    /// Which try this is: 1, 2, … Snoozes and interruptions do not count.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// The stored name of the handler.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The queue the task came from.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.0.queue
    }

    /// The instant of the schedule that made this task: when it was meant to run, whenever it really does. `None` for a task
    /// that was dispatched.
    #[must_use]
    pub fn scheduled_for(&self) -> Option<SystemTime> {
        self.0.tick
    }

    /// Text that is the same in every attempt of this task and in no other task: for services that take an idempotency key.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        self.0.id.to_string()
    }

    /// Resolves when the attempt is to stop: someone cancelled the task, the node shuts down, it lost its lease, or it may have
    /// lost it, since the storage could not be reached for as long.
    ///
    /// A handler that has asked gets [`grace`](crate::Builder::grace) (1 s) to tidy up and return; all others are dropped at
    /// their next await without notice.
    ///
    /// ```
    /// use evertask::Context;
    ///
    /// #[evertask::handler]
    /// async fn export(ctx: Context) {
    ///     tokio::select! {
    ///         () = write_all() => {}
    ///         () = ctx.cancelled() => remove_what_is_half_written().await,
    ///     }
    /// }
    /// # async fn write_all() {}
    /// # async fn remove_what_is_half_written() {}
    /// ```
    pub async fn cancelled(&self) {
        self.0.asked.store(true, Ordering::Relaxed);
        self.0.stop.wait().await;
    }

    /// True once the attempt is to stop. Asking counts like [`cancelled`](Self::cancelled).
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.asked.store(true, Ordering::Relaxed);
        self.0.stop.reason().is_some()
    }

    /// The value of this type that was given to the builder.
    #[must_use]
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<State<T>> {
        self.0.states.get()
    }

    /// Runs a future beside the handler that ends with it: when the attempt ends in any way, what still runs is aborted, and
    /// the end is recorded only after that.
    ///
    /// What a handler gives to `tokio::spawn` or to a thread goes on after a timeout or a cancel; this does not. After the
    /// attempt, in a hook for instance, the future is dropped at once.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let mut children = self.0.children.lock().unwrap_or_else(PoisonError::into_inner);
        if let Children::None = *children {
            *children = Children::Some(JoinSet::new());
        }
        let Children::Some(children) = &mut *children else { return };
        match &self.0.runtime {
            Some(runtime) => children.spawn(ambient::within(Arc::clone(runtime), future)),
            None => children.spawn(future),
        };
    }

    /// Stores another task in the same commit in which this one completes; if it does not complete, never.
    ///
    /// # Errors
    /// What a dispatch would refuse: a payload over the bound, a bad key; and more than 1,000 tasks on one attempt. Keys work as
    /// always: if another live task has the key by then, the returned id is not stored.
    pub fn dispatch_on_success<T: Handler>(
        &self,
        dispatch: Dispatch<T>,
    ) -> Result<TaskId, DispatchError> {
        let (_, task) = dispatch.prepare()?;
        let id = task.id;
        let mut effects = self.0.effects.lock().unwrap_or_else(PoisonError::into_inner);
        if effects.len() >= EFFECTS_MAX {
            let given = effects.len() + 1;
            return Err(DispatchError::TooManyOnSuccess { given, max: EFFECTS_MAX });
        }
        effects.push(Effect::Enqueue(Box::new(task)));
        Ok(id)
    }

    /// The runtime that runs this attempt.
    ///
    /// # Panics
    /// In a context made by [`Context::test`], which belongs to no runtime.
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        let runtime = self.0.runtime.as_ref();
        Runtime::lent(runtime.expect("a context made by `Context::test` belongs to no runtime"))
    }

    pub(crate) fn stop(&self) -> &StopSignal {
        &self.0.stop
    }

    pub(crate) fn states(&self) -> &States {
        &self.0.states
    }

    pub(crate) fn has_asked(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn set_polled(&self, polled: bool) {
        self.0.polled.store(polled, Ordering::Relaxed);
    }

    pub(crate) fn is_polled(&self) -> bool {
        self.0.polled.load(Ordering::Relaxed)
    }

    pub(crate) fn take_effects(&self) -> Vec<Effect> {
        std::mem::take(&mut self.0.effects.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes this the attempt's transaction, unless it has one.
    pub(crate) fn set_transaction(&self, transaction: Arc<dyn OwnTransaction>) -> bool {
        let mut own = self.0.transaction.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = own.is_none();
        own.get_or_insert(OwnTx(transaction));
        is_first
    }

    pub(crate) fn take_transaction(&self) -> Option<Arc<dyn OwnTransaction>> {
        let own = self.0.transaction.lock().unwrap_or_else(PoisonError::into_inner).take();
        own.map(|OwnTx(transaction)| transaction)
    }

    /// Tells those who listen to the runtime's events.
    pub(crate) fn tell(&self, kind: EventKind) {
        if let Some(runtime) = &self.0.runtime {
            let Attempt { id, attempt, name, queue, .. } = &*self.0;
            runtime
                .events
                .tell(|| Event::new(*id, Arc::clone(name), Arc::clone(queue), *attempt, kind));
        }
    }

    /// Aborts what the handler spawned and waits until it is gone.
    pub(crate) async fn end_children(&self) {
        let children = {
            let mut children = self.0.children.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *children, Children::Over)
        };
        if let Children::Some(mut children) = children {
            children.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stop::Stop;

    #[tokio::test]
    async fn a_context_takes_the_place_of_one_that_nobody_has_kept_and_nothing_else_of_it() {
        let mut ctx = Context::test();
        let (place, id) = (Arc::as_ptr(&ctx.0), ctx.id());
        ctx.stop().give(Stop::Cancel);
        ctx.end_children().await;
        assert!(ctx.is_cancelled());
        ctx.renew(NewContext::test());
        assert_eq!(Arc::as_ptr(&ctx.0), place);
        assert_ne!(ctx.id(), id);
        assert!(!ctx.has_asked() && !ctx.is_cancelled());
        let (done, told) = tokio::sync::oneshot::channel();
        ctx.spawn(async { done.send(()).unwrap() });
        told.await.unwrap();
    }

    #[test]
    fn a_context_that_was_kept_stays_that_of_its_attempt() {
        let mut ctx = Context::test();
        let (kept, id) = (ctx.clone(), ctx.id());
        ctx.renew(NewContext::test());
        ctx.stop().give(Stop::Cancel);
        assert_eq!(kept.id(), id);
        assert!(ctx.id() != id && !kept.is_cancelled());
    }
}
