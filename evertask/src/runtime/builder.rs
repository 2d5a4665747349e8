//! How a runtime is described before it starts.

use std::{collections::HashMap, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use crate::{
    bounds::{DELAY_MAX, NAME_MAX, check_text},
    error::StartError,
    extract::States,
    handler::{Handler, HandlerDef},
    policy::{Backoff, Retention, Setting},
    registry::Registry,
    runtime::{
        Runtime, Shared, ambient, boot,
        settings::{QueueSettings, Settings},
        url,
    },
    storage::{FullStorage, StorageError},
};

/// A storage still to be opened.
pub(crate) type OpenStorage = Box<
    dyn FnOnce() -> Pin<Box<dyn Future<Output = Result<Arc<dyn FullStorage>, StorageError>> + Send>>
        + Send,
>;

/// Describes a runtime: where tasks are stored, which handlers and queues it serves, by which rules.
///
/// ```standalone_crate
/// use std::time::Duration;
/// use evertask::{Runtime, storage::Memory};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = Runtime::builder()
///     .storage(Memory::new())
///     .queue("mail", |queue| queue.concurrency(20).timeout(Duration::from_secs(60)))
///     .retries(3)
///     .start()
///     .await?;
/// runtime.shutdown().await?;
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    storage: Option<Source>,
    settings: Settings,
    states: States,
    handlers: Vec<HandlerDef>,
    discover: bool,
    concurrency_said: bool,
    bad: Option<StartError>,
}

enum Source {
    Given(Arc<dyn FullStorage>),
    Url(String),
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            storage: None,
            settings: Settings::default(),
            states: States::default(),
            handlers: Vec::new(),
            discover: true,
            concurrency_said: false,
            bad: None,
        }
    }

    /// Where tasks are stored: [`Memory`](crate::storage::Memory), [`Sqlite`](crate::storage::Sqlite), or one of your own.
    pub fn storage(mut self, storage: impl FullStorage) -> Self {
        self.storage = Some(Source::Given(Arc::new(storage)));
        self
    }

    /// Where tasks are stored, as text: `sqlite://tasks.db` (a path from here) or `sqlite:///var/lib/app/tasks.db` (an absolute
    /// one), `memory:`, `postgres://user:password@host/database` (feature `postgres`), `mysql://user:password@host/database`
    /// (feature `mysql`; MariaDB, too). Without `storage` and `url` the environment variable `EVERTASK_URL` decides.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.storage = Some(Source::Url(url.into()));
        self
    }

    /// Declares a queue and its limits: served by this node even if no handler names it.
    pub fn queue(
        mut self,
        name: impl AsRef<str>,
        describe: impl FnOnce(QueueBuilder) -> QueueBuilder,
    ) -> Self {
        let name = name.as_ref();
        if let Err(bad) = check_text("queue name", name, NAME_MAX) {
            self.refuse("queue", bad.to_string());
            return self;
        }
        let queue = describe(QueueBuilder(QueueSettings::default())).0;
        if queue.concurrency == Some(0) {
            let why = "a concurrency of 0 would never run anything; leave the queue out of `.only(..)` instead";
            self.refuse(&format!("queue `{name}`"), why.into());
        }
        self.settings.queues.insert(name.into(), queue);
        self
    }

    /// Serves these queues and no others.
    pub fn only<Q: AsRef<str>>(mut self, queues: impl IntoIterator<Item = Q>) -> Self {
        self.settings.only = Some(queues.into_iter().map(|queue| queue.as_ref().into()).collect());
        self
    }

    /// How many attempts run at once on this node, all queues together. Default: twice the cores, at least 4, and at least as
    /// many as the queues with a limit of their own are to run together.
    pub fn concurrency(mut self, attempts: usize) -> Self {
        if attempts == 0 {
            self.refuse(
                "concurrency",
                "0 would never run anything; use `.client()` to only dispatch".into(),
            );
        }
        self.settings.concurrency = attempts;
        self.concurrency_said = true;
        self
    }

    /// The time one attempt may take where dispatch, handler and queue say nothing. Default: no limit.
    pub fn timeout(mut self, timeout: impl Into<Setting<Duration>>) -> Self {
        self.settings.rules.timeout = timeout.into();
        self
    }

    /// The attempts after the first where dispatch, handler and queue say nothing. Default: 10.
    pub fn retries(mut self, retries: u32) -> Self {
        self.settings.rules.retries = Some(retries);
        self
    }

    /// The wait between attempts where handler and queue say nothing. Default: exponential from 1 s to 1 h, with jitter.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.rules.backoff = Some(backoff);
        self
    }

    /// How long ended tasks are kept where handler and queue say nothing. Default: completed and cancelled 1 day, failed 14.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.settings.rules.retention = Some(retention);
        self
    }

    /// How long ended tasks of one handler are kept.
    pub fn retention_of<H: Handler>(mut self, retention: Retention) -> Self {
        self.settings.handler_retention.insert(H::OPTIONS.name, retention);
        self
    }

    /// A value for handlers that take a [`State<T>`](crate::State). One of each type; a second takes the place of the first.
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        self.states.insert(state);
        self
    }

    /// Adds a handler by name, whatever the linker found. Adding one that was found too is no error.
    pub fn handler<H: Handler>(mut self) -> Self {
        self.handlers.push(HandlerDef::of::<H>());
        self
    }

    /// Whether to use the handlers that the linker gathered from all crates of the program. Default: true.
    pub fn discover(mut self, discover: bool) -> Self {
        self.discover = discover;
        self
    }

    /// The largest payload in bytes. Default: 1 MiB.
    pub fn payload_max(mut self, bytes: usize) -> Self {
        self.settings.payload_max = bytes;
        self
    }

    /// How long a dispatch retries while the storage is unavailable or says nothing. No single try has more than half of what is
    /// left, unless that is less than a second. Default: 10 s.
    pub fn dispatch_timeout(mut self, timeout: Duration) -> Self {
        self.settings.dispatch_timeout = timeout;
        self
    }

    /// How long a shutdown waits for running attempts before it stops them. Default: 20 s. It may take up to 16 s longer where
    /// handlers do not follow or the storage does not answer, so leave a process that much before it is killed (with Kubernetes,
    /// `terminationGracePeriodSeconds: 40`).
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.settings.shutdown_timeout = timeout.min(DELAY_MAX);
        self
    }

    /// How long a node may give no sign of life before others take its tasks, on storages that go by signs of life. One that
    /// cannot reach its storage for as long stops its handlers itself, since others may have begun; so a database that is silent
    /// for longer than this, and does not just refuse, interrupts what runs. Default: 15 s, at least 1 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        if lease < Duration::from_secs(1) {
            self.refuse("lease", format!("{lease:?} is shorter than any hiccup; at least 1 s"));
        }
        self.settings.lease = lease.min(DELAY_MAX);
        self
    }

    /// How long a handler that has asked ([`Context::cancelled`](crate::Context::cancelled)) may go on after it was told to
    /// stop. Default: 1 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace.min(DELAY_MAX);
        self
    }

    /// How long the executor may stand still before this node counts as dead. Default: 5 minutes.
    pub fn stall_limit(mut self, limit: Duration) -> Self {
        self.settings.stall_limit = limit;
        self
    }

    /// How often a task may be the only one that ran on a node that died, before it fails as the likely cause. Default: 5.
    pub fn max_losses(mut self, losses: u32) -> Self {
        if losses == 0 {
            self.refuse(
                "max_losses",
                "0 would fail tasks for crashes they had no part in; at least 1".into(),
            );
        }
        self.settings.max_losses = losses;
        self
    }

    /// How often to look where the storage cannot wake this process. Default: 1 s.
    pub fn look_every(mut self, interval: Duration) -> Self {
        self.settings.look_every = interval.max(Duration::from_millis(10));
        self
    }

    /// The version of the program, as it is written down with each attempt. Default: none.
    pub fn version(mut self, version: impl AsRef<str>) -> Self {
        self.settings.binary = version.as_ref().into();
        self
    }

    fn refuse(&mut self, what: &str, why: String) {
        let what = what.to_owned();
        self.bad.get_or_insert(StartError::BadSetting { what, why });
    }

    /// Starts the node: it takes up what is stored and runs what is dispatched, until it is shut down.
    ///
    /// # Errors
    /// A setting that makes no sense, two handlers of one name, a missing [`State`](crate::State), a storage that refuses.
    pub async fn start(self) -> Result<Runtime, StartError> {
        let shared = self.build(true).await?;
        boot::start(&shared).await?;
        Ok(ambient::announce(shared))
    }

    /// Starts a runtime that dispatches and inspects but runs nothing, and asks for no state.
    ///
    /// # Errors
    /// As [`start`](Self::start), states aside.
    pub async fn client(self) -> Result<Runtime, StartError> {
        let shared = self.build(false).await?;
        Ok(ambient::announce(shared))
    }

    async fn build(self, runs: bool) -> Result<Arc<Shared>, StartError> {
        let Self { storage, mut settings, mut states, handlers, discover, concurrency_said, bad } =
            self;
        if let Some(bad) = bad {
            return Err(bad);
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(StartError::NoTokio);
        }
        let discovered = discover.then(Registry::discovered).into_iter().flatten();
        let registry = Registry::new(discovered.chain(handlers))?;
        settle_queues(&mut settings, &registry);
        settle_concurrency(&mut settings, concurrency_said)?;
        if runs {
            check_states(&settings, &registry, &states)?;
        }
        let open: OpenStorage = match storage {
            Some(Source::Given(storage)) => Box::new(|| Box::pin(std::future::ready(Ok(storage)))),
            Some(Source::Url(url)) => url::open(&url)?,
            None => match std::env::var("EVERTASK_URL") {
                Ok(url) => url::open(&url)?,
                Err(_) => return Err(StartError::NoStorage),
            },
        };
        let storage = open().await?;
        states.insert(Arc::clone(&storage));
        if runs {
            // Now those can tell, too, that depend on what storage it is.
            check_states(&settings, &registry, &states)?;
        }
        Ok(Shared::new(storage, registry, settings, states, runs))
    }
}

/// The queues this node serves: those its handlers name and those declared, or only the named ones.
fn settle_queues(settings: &mut Settings, registry: &Registry) {
    let mut queues: HashMap<Arc<str>, QueueSettings> = std::mem::take(&mut settings.queues);
    for entry in registry.entries() {
        queues.entry(Arc::clone(&entry.queue)).or_default();
    }
    if let Some(only) = &settings.only {
        for name in only {
            queues.entry(Arc::clone(name)).or_default();
        }
    }
    settings.queues = queues;
}

/// The node's limit has to hold what its queues were promised: raised to that if it was not said, an error if it was.
fn settle_concurrency(settings: &mut Settings, said: bool) -> Result<(), StartError> {
    let limits = settings.queues.iter().filter(|(name, _)| settings.serves(name));
    let own: Vec<_> = limits.filter_map(|(name, queue)| Some((name, queue.concurrency?))).collect();
    if !said {
        let together = own.iter().map(|(_, limit)| limit).sum();
        settings.concurrency = settings.concurrency.max(together);
        return Ok(());
    }
    match own.into_iter().find(|(_, limit)| *limit > settings.concurrency) {
        None => Ok(()),
        Some((name, limit)) => Err(StartError::BadSetting {
            what: format!("queue `{name}`"),
            why: format!(
                "it is to run {limit} attempts at once, the node as a whole only {}; raise `.concurrency(..)` on the builder",
                settings.concurrency
            ),
        }),
    }
}

fn check_states(
    settings: &Settings,
    registry: &Registry,
    states: &States,
) -> Result<(), StartError> {
    for entry in registry.entries() {
        if !settings.serves(&entry.queue) {
            continue;
        }
        (entry.def.check)(states).map_err(|missing| StartError::MissingState {
            handler: entry.def.options.name,
            at: entry.def.options.location,
            missing,
        })?;
    }
    Ok(())
}

impl Settings {
    /// True if this node runs tasks of the queue.
    pub(crate) fn serves(&self, queue: &str) -> bool {
        match &self.only {
            Some(only) => only.iter().any(|name| **name == *queue),
            None => self.queues.contains_key(queue),
        }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Describes one queue.
#[must_use]
#[derive(Debug)]
pub struct QueueBuilder(QueueSettings);

impl QueueBuilder {
    /// How many attempts of this queue run at once on this node. Default: as many as the node has room for.
    pub fn concurrency(mut self, attempts: usize) -> Self {
        self.0.concurrency = Some(attempts);
        self
    }

    /// The time one attempt may take where dispatch and handler say nothing.
    pub fn timeout(mut self, timeout: impl Into<Setting<Duration>>) -> Self {
        self.0.rules.timeout = timeout.into();
        self
    }

    /// The attempts after the first where dispatch and handler say nothing.
    pub fn retries(mut self, retries: u32) -> Self {
        self.0.rules.retries = Some(retries);
        self
    }

    /// The wait between attempts where the handler says nothing.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.0.rules.backoff = Some(backoff);
        self
    }

    /// How long ended tasks of this queue are kept where nothing is said for their handler.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.0.rules.retention = Some(retention);
        self
    }
}
