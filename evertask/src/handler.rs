//! What a handler is to the runtime: a payload type that knows its name, its options and how to run.

use std::{future::Future, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    context::Context,
    extract::{MissingState, States},
    failure::Failure,
    hooks::Hooks,
    policy::{Backoff, Setting},
    seat::{AnySeat, seat},
    tick::{Missed, Overlap},
};

/// A handler: the payload of its tasks, and how to run them.
///
/// `#[evertask::handler]` implements it for the struct it puts beside your fn; there is no need to implement it by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler's payload",
    label = "no `#[evertask::handler]` fn of this name",
    note = "put `#[evertask::handler]` on an async fn; the struct of the same name is the payload"
)]
pub trait Handler: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What the handler returns, errors aside; recorded when the task completes.
    type Output: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// What the attribute says.
    const OPTIONS: HandlerOptions;

    /// What is called after a verdict is stored.
    const HOOKS: Hooks = Hooks::NONE;

    /// Runs the handler once.
    fn call(self, ctx: Context) -> impl Future<Output = Result<Self::Output, Failure>> + Send;

    /// Asks for everything the handler wants from the builder.
    ///
    /// # Errors
    /// The first thing that is missing.
    fn check(states: &States) -> Result<(), MissingState> {
        let _none_wanted = states;
        Ok(())
    }
}

/// The options of one handler, as its attribute says them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HandlerOptions {
    /// The stored name.
    pub name: &'static str,
    /// Older stored names whose tasks it runs too.
    pub aliases: &'static [&'static str],
    /// The version of its payload.
    pub version: u32,
    /// Its queue.
    pub queue: &'static str,
    /// The time one attempt may take.
    pub timeout: Setting<Duration>,
    /// Attempts after the first.
    pub retries: Option<u32>,
    /// How long between attempts.
    pub backoff: Option<Backoff>,
    /// Its place inside the queue: higher goes first.
    pub priority: i16,
    /// When it runs by itself: a schedule in its [stored form](crate::schedule::Schedule::to_wire), whose ticks read an empty
    /// payload, `{}`.
    pub schedule: Option<&'static str>,
    /// What becomes of its ticks while no node lives.
    pub missed: Missed,
    /// What becomes of a tick while the task of the one before is not done.
    pub overlap: Overlap,
    /// Over how long the ticks of such schedules are [spread](crate::Recurring::spread).
    pub spread: Duration,
    /// Where it stands in the source.
    pub location: Location,
}

impl HandlerOptions {
    /// A handler of this name with nothing else said.
    #[must_use]
    pub const fn new(name: &'static str, location: Location) -> Self {
        Self {
            name,
            aliases: &[],
            version: 1,
            queue: "default",
            timeout: Setting::Inherit,
            retries: None,
            backoff: None,
            priority: 0,
            schedule: None,
            missed: Missed::Skip,
            overlap: Overlap::Skip,
            spread: Duration::ZERO,
            location,
        }
    }

    /// Older stored names.
    #[must_use]
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// The version of the payload.
    #[must_use]
    pub const fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// The queue.
    #[must_use]
    pub const fn queue(mut self, queue: &'static str) -> Self {
        self.queue = queue;
        self
    }

    /// The timeout, or none.
    #[must_use]
    pub const fn timeout(mut self, timeout: Setting<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// Attempts after the first.
    #[must_use]
    pub const fn retries(mut self, retries: u32) -> Self {
        self.retries = Some(retries);
        self
    }

    /// How long between attempts.
    #[must_use]
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(backoff);
        self
    }

    /// The place inside the queue.
    #[must_use]
    pub const fn priority(mut self, priority: i16) -> Self {
        self.priority = priority;
        self
    }

    /// When it runs by itself, in the [stored form](crate::schedule::Schedule::to_wire) of a schedule.
    #[must_use]
    pub const fn schedule(mut self, stored: &'static str) -> Self {
        self.schedule = Some(stored);
        self
    }

    /// What becomes of its ticks while no node lives.
    #[must_use]
    pub const fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// What becomes of a tick while the task of the one before is not done.
    #[must_use]
    pub const fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = overlap;
        self
    }

    /// Over how long the ticks of such schedules are spread.
    #[must_use]
    pub const fn spread(mut self, over: Duration) -> Self {
        self.spread = over;
        self
    }
}

/// A place in a source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The module, whose first segment is the crate.
    pub module: &'static str,
    /// The file as the compiler was told.
    pub file: &'static str,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

impl Location {
    /// The crate.
    #[must_use]
    pub fn krate(&self) -> &'static str {
        self.module.split("::").next().unwrap_or(self.module)
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A handler without its types: what the registry holds.
#[derive(Debug, Clone)]
pub struct HandlerDef {
    pub(crate) options: HandlerOptions,
    pub(crate) hooks: Hooks,
    pub(crate) seat: fn() -> AnySeat,
    pub(crate) check: fn(&States) -> Result<(), MissingState>,
}

impl HandlerDef {
    /// The definition of this handler.
    #[must_use]
    pub const fn of<H: Handler>() -> Self {
        Self { options: H::OPTIONS, hooks: H::HOOKS, seat: seat::<H>, check: H::check }
    }

    /// What its attribute says.
    #[must_use]
    pub fn options(&self) -> &HandlerOptions {
        &self.options
    }
}
