//! The work on trial: handlers that write down when they ran, and dispatchers that write down what was acknowledged.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use evertask::{
    Cancel, Context, DispatchError, EventKind, Page, Retention, Runtime, State, TaskFilter,
    TaskHandle, TaskId, TaskState,
};

use crate::{
    LEASE,
    effects::{self, book},
    journal::{self, Journal},
    until,
};

/// One run of a handler, from its first poll to the drop of its future.
pub(crate) struct Run {
    id: TaskId,
    /// Names this run among all: whatever the storage took of it says so.
    name: String,
    journal: Journal,
    /// Its work is done; what follows is to say so.
    done: bool,
}

impl Run {
    pub(crate) fn begin(ctx: &Context, journal: &Journal) -> Self {
        let (id, name) = (ctx.id(), format!("run-{:016x}", fastrand::u64(..)));
        journal.say(&format!("begin {id} {name}"));
        Self { id, name, journal: journal.clone(), done: false }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// All that it was to do has been done, whatever comes of it.
    pub(crate) fn done(&mut self) {
        self.done = true;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let how = if self.done { "done" } else { "dropped" };
        self.journal.say(&format!("end {} {} {how}", self.id, self.name));
    }
}

#[evertask::handler(retries = 3, backoff = "fixed(50ms)")]
pub(crate) async fn work(
    kind: String,
    journal: State<Journal>,
    ctx: Context,
) -> Result<String, String> {
    let mut run = Run::begin(&ctx, &journal);
    let pause = match kind.as_str() {
        "slow" => Duration::from_millis(fastrand::u64(20..200)),
        // So long that a node which stops has lost it when it goes on, and not so long that it never gets done.
        "long" => LEASE.mul_f64(fastrand::f64() + 0.5),
        _ => Duration::ZERO,
    };
    if kind == "held" {
        ctx.cancelled().await;
    }
    tokio::time::sleep(pause).await;
    run.done();
    match kind.as_str() {
        "flaky" if ctx.attempt() == 1 => Err(run.name.clone()),
        "doomed" => Err(run.name.clone()),
        _ => Ok(run.name.clone()),
    }
}

/// What ticks make. It takes nothing, so that many come in little time.
#[evertask::handler(retries = 3, backoff = "fixed(50ms)")]
pub(crate) async fn beat() {}

/// A node, or with `client` what dispatches to it, on the storage of this url.
pub(crate) fn builder(url: &str, journal: &Journal) -> evertask::Builder {
    let builder = Runtime::builder().url(url).discover(false).lease(LEASE);
    let builder = builder.handler::<work>().handler::<beat>();
    let builder = if effects::are_on(url) { builder.handler::<book>() } else { builder };
    let builder = builder.state(journal.clone());
    // What is on trial is not whether a task is to blame for its nodes' deaths.
    builder.retention(Retention::forever()).max_losses(1_000).concurrency(12)
}

/// Writes down what this node is refused and what troubles it.
pub(crate) async fn tell_events(runtime: Runtime, journal: Journal) {
    let mut events = runtime.events();
    while let Some(event) = events.next().await {
        let error = event.error.as_deref().unwrap_or_default();
        match event.kind {
            EventKind::Completed => journal.say(&format!("completed {}", event.id)),
            EventKind::LeaseLost => journal.say(&format!("refused {}", event.id)),
            EventKind::Rescued => journal.say(&format!("rescued {}", event.id)),
            EventKind::Trouble => journal.say(&format!("trouble {error}")),
            EventKind::Missed(n) => journal.say(&format!("missed {n}")),
            _ => {}
        }
    }
}

/// Where it is said that no more is to be dispatched.
fn drain(directory: &Path) -> PathBuf {
    directory.join("drain")
}

/// Tells all to dispatch no more, and waits until those who live have done with what they were at, and all of it has ended.
pub(crate) async fn finish(directory: &Path, living: &[u32], runtime: &Runtime) {
    std::fs::write(drain(directory), "").unwrap();
    // What a killed process had sent may still be carried out.
    tokio::time::sleep(Duration::from_millis(500)).await;
    until("all dispatchers have done", async || {
        let lines = journal::read(directory);
        let say = |what: &str, pid: &u32| {
            let said = format!("{what} {pid}");
            lines.iter().filter(|(_, line)| *line == said).count()
        };
        living.iter().all(|pid| say("dispatching", pid) == say("drained", pid))
    })
    .await;
    until("everything has ended", async || all_ended(runtime).await).await;
}

/// What is dispatched, as often as it stands here.
const KINDS: [&str; 9] =
    ["quick", "quick", "quick", "flaky", "slow", "slow", "slow", "long", "doomed"];

/// Dispatches at random until it is told to stop; with `effects` also what writes with the end of its task.
pub(crate) async fn dispatch(
    runtime: Runtime,
    journal: Journal,
    directory: PathBuf,
    seed: u64,
    effects: bool,
) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (drain, pid) = (drain(&directory), std::process::id());
    journal.say(&format!("dispatching {pid}"));
    while !drain.exists() {
        let kind = KINDS[random.usize(..KINDS.len())];
        let mut dispatch = work::dispatch(kind).on(&runtime).priority(random.i16(0..3));
        match random.u32(0..10) {
            0 => dispatch = dispatch.after(Duration::from_millis(random.u64(0..2_000))),
            // Of one kind, so that what replaces is of the same kind as what is replaced.
            1 => {
                let key = format!("{kind}-{}", random.u32(0..5));
                dispatch = work::dispatch(kind).on(&runtime).key(key);
            }
            _ => {}
        }
        if let Some(task) = note(dispatch.await, &journal)
            && random.u32(0..20) == 0
        {
            journal.say(&format!("cancelling {}", task.id()));
            if let Ok(Cancel::Done | Cancel::Asked) = task.cancel().await {
                journal.say(&format!("cancelled {}", task.id()));
            }
        }
        if effects && random.u32(0..4) == 0 {
            note(book::dispatch().on(&runtime).await, &journal);
        }
        tokio::time::sleep(Duration::from_millis(random.u64(5..60))).await;
    }
    journal.say(&format!("drained {pid}"));
}

/// Writes down what was said of a dispatch.
fn note<H: evertask::Handler>(
    told: Result<TaskHandle<H>, DispatchError>,
    journal: &Journal,
) -> Option<TaskHandle<H>> {
    match &told {
        Ok(task) => journal.say(&format!("stored {}", task.id())),
        // Whether it was stored is not known, and not promised.
        Err(DispatchError::Unknown { id, .. }) => journal.say(&format!("unknown {id}")),
        Err(error) => journal.say(&format!("undispatched {error}")),
    }
    told.ok()
}

/// All that is stored has ended.
async fn all_ended(runtime: &Runtime) -> bool {
    // One that goes back and forth may be passed over between two questions, though hardly again and again.
    let (pending, running) = (TaskState::Pending, TaskState::Running);
    for state in [pending, running, pending, running, running, pending, pending, running] {
        let mut filter = TaskFilter::default();
        filter.state = Some(state);
        let left = runtime.tasks(filter, Page { before: None, limit: 1 }).await;
        if !left.is_ok_and(|left| left.is_empty()) {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    true
}
