//! The running system: it brings due tasks from storage to handlers and their outcomes back.
//!
//! A task's way: [`client`] → storage → [`claimer`] → [`desk`] → [`attempt`] → `judge` → [`settler`] → storage, with the
//! [`keeper`] beside it. Everything here may lose a reply, be cut off or panic; what is stored decides.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use crate::{
    error::{RetryError, ShutdownError},
    event::{Event, EventKind, EventStream, Events},
    extract::States,
    policy::RETRIES,
    process::Executor,
    registry::Registry,
    storage::{
        Cancel, FullStorage, KeepBy, Node, NodeInfo, Page, Revive, StorageError, TaskFilter,
    },
    task::{TaskId, TaskInfo},
    verdict::Policy,
};

pub(crate) mod ambient;
mod attempt;
mod boot;
mod broken;
mod builder;
mod calls;
mod claimer;
mod client;
mod declarations;
mod desk;
mod gate;
mod health;
mod hooks;
mod keeper;
mod latch;
mod own;
mod pace;
mod patience;
mod probe;
mod pruner;
mod pulse;
mod rescue;
mod revision;
mod schedules;
pub(crate) mod settings;
mod settler;
mod shutdown;
mod slot;
mod ticker;
mod touch;
mod url;
mod watch;
mod why;

use self::{
    broken::SetAside,
    calls::{Call, Calls},
    desk::Desk,
    gate::Gate,
    latch::Latch,
    probe::Probe,
    pulse::Pulse,
    settings::Settings,
    settler::Settler,
    touch::Touch,
};
pub use self::{
    builder::{Builder, QueueBuilder},
    calls::LoopHealth,
    desk::RunningTask,
    health::{Health, Stall},
    schedules::{ScheduleFilter, ScheduleInfo, Schedules},
    why::{Explanation, Why},
};

/// A running evertask: it runs tasks, dispatches them and answers questions about them.
///
/// Cheap to clone. When the last clone is dropped it shuts down by itself, in the background; call
/// [`shutdown`](Self::shutdown) to wait for that, or [`run_until_signal`](Self::run_until_signal) in a program that does
/// nothing else.
///
/// ```standalone_crate
/// use evertask::{Runtime, storage::Memory};
///
/// #[evertask::handler]
/// async fn add(a: u32, b: u32) -> u32 {
///     a + b
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = Runtime::builder().storage(Memory::new()).start().await?;
/// let task = add::dispatch(2, 3).await?;
/// assert_eq!(task.output().await?, 5);
/// runtime.shutdown().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
    /// `None` for a handle lent to a handler: it does not keep the runtime running.
    _owner: Option<Arc<Owner>>,
}

/// Shuts the runtime down when the last of those who hold it lets go.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        if !self.0.closed.is_set() {
            let shared = Arc::clone(&self.0);
            drop(self.0.tokio.spawn(async move {
                if let Err(error) = shutdown::shutdown(&shared).await {
                    tracing::error!(%error, "the dropped runtime did not shut down well");
                }
            }));
        }
    }
}

/// What all parts of one runtime share.
pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn FullStorage>,
    pub(crate) registry: Registry,
    pub(crate) settings: Settings,
    pub(crate) states: Arc<States>,
    pub(crate) node: Node,
    pub(crate) tokio: Executor,
    pub(crate) events: Events,
    desk: Desk,
    settler: Settler,
    hooks: Gate,
    /// Claims under way.
    claiming: Gate,
    calls: Calls,
    pulse: Pulse,
    probe: Probe,
    touch: Touch,
    /// Held from taking tasks over until they are judged.
    rescuing: tokio::sync::Mutex<()>,
    set_aside: SetAside,
    claim_next: AtomicU64,
    /// It runs tasks; a client does not.
    runs: bool,
    /// No more tasks are taken in.
    draining: Latch,
    /// Running attempts are not waited for any longer.
    hurry: Latch,
    /// The node has left; the background loops end.
    left: Latch,
    /// It is over: nothing is dispatched any more.
    closed: Latch,
    shutting_down: tokio::sync::Mutex<()>,
}

impl Shared {
    fn new(
        storage: Arc<dyn FullStorage>,
        registry: Registry,
        settings: Settings,
        states: States,
        runs: bool,
    ) -> Arc<Self> {
        let desk = Desk::new(&settings);
        let queues = desk.queues().iter().map(ToString::to_string).collect();
        let mut node = Node::new(registry.known(), queues);
        settings.binary.as_ref().clone_into(&mut node.binary);
        (node.lease, node.stall_limit) = (settings.lease, settings.stall_limit);
        Arc::new(Self {
            storage,
            registry,
            states: Arc::new(states),
            node,
            tokio: Executor::here(),
            events: Events::new(),
            desk,
            settler: Settler::new(),
            hooks: Gate::default(),
            claiming: Gate::default(),
            calls: Calls::new(),
            pulse: Pulse::new(),
            probe: Probe::default(),
            touch: Touch::new(),
            rescuing: tokio::sync::Mutex::new(()),
            set_aside: SetAside::default(),
            claim_next: AtomicU64::new(1),
            settings,
            runs,
            draining: Latch::new(),
            hurry: Latch::new(),
            left: Latch::new(),
            closed: Latch::new(),
            shutting_down: tokio::sync::Mutex::new(()),
        })
    }

    /// Nothing can be dispatched any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_set()
    }

    /// A background loop could not do its work: told once when it begins and then now and then, not at every try.
    fn trouble(&self, call: &Call, error: &StorageError) {
        if !call.is_news() {
            return;
        }
        let what = call.name;
        tracing::error!(what, kind = ?error.kind(), %error, "the storage failed; trying again");
        self.events.tell(|| Event::of_node(EventKind::Trouble).error(format!("{what}: {error}")));
    }

    /// How long a task of this stored name is kept after its end.
    fn keep(&self, name: &str, queue: &str) -> KeepBy {
        let handler = self.registry.get(name).map(|entry| entry.def.options.name);
        self.settings.keep(handler, queue)
    }
}

impl Settings {
    /// The rule for tasks whose handler is not known here; only losses are judged by it.
    fn policy_of_unknown(&self) -> Policy {
        let backoff = self.rules.backoff.unwrap_or_default();
        let retries = self.rules.retries.unwrap_or(RETRIES);
        Policy { retries, backoff, max_losses: self.max_losses }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("node", &self.node.id).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Describes a runtime before it starts.
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn owning(shared: Arc<Shared>) -> Self {
        let owner = Arc::new(Owner(Arc::clone(&shared)));
        Self { shared, _owner: Some(owner) }
    }

    /// A handle that does not keep the runtime running.
    pub(crate) fn lent(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), _owner: None }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// All that is stored about one task; `None` if it is not stored, or no longer.
    ///
    /// # Errors
    /// The storage could not be read.
    pub async fn task(&self, id: TaskId) -> Result<Option<TaskInfo>, StorageError> {
        self.shared.task(id).await
    }

    /// Tasks that match, newest first, without their attempts.
    ///
    /// ```
    /// # async fn look(runtime: evertask::Runtime) -> Result<(), evertask::StorageError> {
    /// use evertask::{Page, TaskFilter, TaskState};
    ///
    /// let mut failed = TaskFilter::default();
    /// failed.state = Some(TaskState::Failed);
    /// for task in runtime.tasks(failed, Page::default()).await? {
    ///     println!("{} {}: {:?}", task.id, task.name, task.error);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The storage could not be read.
    pub async fn tasks(
        &self,
        filter: TaskFilter,
        page: Page,
    ) -> Result<Vec<TaskInfo>, StorageError> {
        self.shared.storage.tasks(filter, page).await
    }

    /// Cancels a task. A pending one is cancelled at once. A running one is told to stop: its handler is dropped at its next
    /// await (one that listens to [`Context::cancelled`](crate::Context::cancelled) gets a moment first), and whatever it does
    /// until then, it ends as cancelled. One that has ended stays as it is.
    ///
    /// # Errors
    /// The storage refused.
    pub async fn cancel(&self, id: TaskId) -> Result<Cancel, StorageError> {
        self.shared.cancel(id).await
    }

    /// Runs a task again that has ended, tries from the start; one that is pending becomes due now.
    ///
    /// # Errors
    /// It is running, its key is held by another task, it is not stored, or the storage refused.
    pub async fn retry(&self, id: TaskId) -> Result<(), RetryError> {
        match self.shared.storage.revive(id).await? {
            Revive::Revived | Revive::Hastened => Ok(()),
            Revive::Running => Err(RetryError::Running(id)),
            Revive::KeyTaken(other) => Err(RetryError::KeyTaken(other)),
            Revive::Unknown => Err(RetryError::Unknown(id)),
        }
    }

    /// What happens to tasks on this node from now on. Bounded: a listener that is too slow gets
    /// [`Missed(n)`](EventKind::Missed) in place of `n` events. Nobody listening costs nothing.
    #[must_use]
    pub fn events(&self) -> EventStream {
        self.shared.events.listen()
    }

    /// Why a task is where it is, and in particular why it does not run: due later, no node that lives knows its handler, reads
    /// its payload or serves its queue, its node has died, it waits for its turn. `None` if it is not stored, or no longer.
    ///
    /// It is read in three steps while all goes on, so of a task that moves at this moment it may say what was true just before.
    ///
    /// # Errors
    /// The storage could not be read.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn why(runtime: &evertask::Runtime, id: evertask::TaskId) -> Result<(), evertask::StorageError> {
    /// if let Some(explanation) = runtime.explain(id).await? {
    ///     // task 0198… (`send_mail`) is pending: no node that lives knows a handler `send_mail`; start a program that has it, …
    ///     println!("{explanation}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn explain(&self, id: TaskId) -> Result<Option<Explanation>, StorageError> {
        let storage = &self.shared.storage;
        let Some(task) = self.task(id).await? else { return Ok(None) };
        let (roll, backlog) = tokio::try_join!(storage.roll(), storage.backlog())?;
        Ok(Some(Explanation::of(task, &roll, &backlog)))
    }

    /// All nodes that share this storage: those that live, and those that died and whose tasks may not be taken over yet.
    ///
    /// # Errors
    /// The storage could not be read.
    pub async fn nodes(&self) -> Result<Vec<NodeInfo>, StorageError> {
        Ok(self.shared.storage.roll().await?.nodes)
    }

    /// How this node is: what it runs, whether its loops get on with the storage, what is due that nobody here can run, and
    /// which schedules nobody declares any more.
    pub async fn health(&self) -> Health {
        health::health(&self.shared).await
    }

    /// Stops taking tasks in, waits for running attempts ([`shutdown_timeout`](Builder::shutdown_timeout), 20 s), stops what
    /// is left, and gives back what did not finish: pending again in its old place, no attempt spent. After that nothing can
    /// be dispatched through this runtime.
    ///
    /// Calling it again, or from several places, waits for the same end.
    ///
    /// # Errors
    /// Something could not be written down. Nothing is lost by that: other nodes, or the next start, rescue it.
    pub async fn shutdown(&self) -> Result<(), ShutdownError> {
        shutdown::detached(&self.shared).await
    }

    /// Runs until SIGINT (Ctrl-C) or SIGTERM, then shuts down. A second signal cuts the wait for running attempts short.
    ///
    /// # Errors
    /// As [`shutdown`](Self::shutdown).
    pub async fn run_until_signal(&self) -> Result<(), ShutdownError> {
        shutdown::run_until_signal(&self.shared).await
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("node", &self.shared.node.id).finish_non_exhaustive()
    }
}
