//! The handlers of the simulated programs. All do the same: what the plan says of their task.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};

use evertask::{
    Backoff, Builder, Context, DispatchError, Dispatched, Runtime, State, TaskError, TaskId,
    schedule::every_day,
};
use tokio::time::sleep;

use crate::{
    bugs::Bug,
    model::End,
    papers,
    plan::{Act, EFFECTS, LISTENER, PROBE, Plan, Release, TIDE, TaskPlan},
    runs::Run,
    seat::Seat,
    series::{RulePlan, SchedulePlan},
    tides, wall,
};

/// What a handler says that is not to be tried again.
pub(crate) const FOR_GOOD: &str = "planned, for good";

pub(crate) type Whatever = Result<u64, Box<dyn Error + Send + Sync>>;

#[evertask::handler(queue = "one", backoff = "exponential(1s, max = 4s)", timeout = "10s")]
async fn alpha(task: u32, seat: State<Arc<Seat>>, ctx: Context) -> Whatever {
    act(task, &seat, &ctx).await
}

#[evertask::handler(queue = "two", backoff = "list(1s, 3s)", jitter = false, timeout = "10s")]
async fn beta(task: u32, seat: State<Arc<Seat>>, ctx: Context) -> Whatever {
    act(task, &seat, &ctx).await
}

#[evertask::handler(aliases = ["gamma_old"], queue = "one", backoff = "fixed(2s)", jitter = false, timeout = "10s")]
async fn gamma(task: u32, seat: State<Arc<Seat>>, ctx: Context) -> Whatever {
    act(task, &seat, &ctx).await
}

#[evertask::handler(queue = "one", backoff = "fixed(2s)", jitter = false, timeout = "10s")]
async fn gamma_old(task: u32, seat: State<Arc<Seat>>, ctx: Context) -> Whatever {
    act(task, &seat, &ctx).await
}

const SECOND: Duration = Duration::from_secs(1);
const BETA_WAITS: &[Duration] = &[SECOND, Duration::from_secs(3)];

/// How long tasks of this name wait between their tries, as it is said above.
pub(crate) fn backoff(name: &str) -> Backoff {
    match name {
        "alpha" => Backoff::exponential(SECOND, 4 * SECOND),
        "beta" => Backoff::list(BETA_WAITS).without_jitter(),
        "gamma" | "gamma_old" | papers::NAME => Backoff::fixed(2 * SECOND).without_jitter(),
        _ => Backoff::default(),
    }
}

/// How long a run of the task of this number may take.
pub(crate) fn limit(number: u32) -> Option<Duration> {
    match number {
        TIDE => None,
        PROBE | LISTENER => Some(600 * SECOND),
        _ => Some(10 * SECOND),
    }
}

impl Release {
    /// The handlers of this release.
    pub(crate) fn install(self, builder: Builder, plan: &Plan) -> Builder {
        let mut builder = papers::install(self, builder.handler::<alpha>());
        if plan.declares() {
            builder = tides::install(self, builder);
        }
        match self {
            Self::First => builder.handler::<gamma_old>(),
            Self::Second => builder.handler::<beta>().handler::<gamma_old>(),
            Self::Third => builder.handler::<beta>().handler::<gamma>(),
        }
    }

    /// The names of tasks it can run.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Self::First => &["alpha", "gamma_old", "tide", papers::NAME],
            Self::Second => &["alpha", "beta", "gamma_old", "tide", papers::NAME],
            Self::Third => &["alpha", "beta", "gamma", "gamma_old", "tide", papers::NAME],
        }
    }

    /// Whether it can run tasks of this name whose payload has this version.
    pub(crate) fn reads(self, name: &str, version: u32) -> bool {
        let newest = if name == papers::NAME { papers::version(self) } else { 1 };
        self.names().contains(&name) && version <= newest
    }

    /// Whether it has the handler of this number.
    pub(crate) fn has(self, handler: usize) -> bool {
        match handler {
            0 | 4 => true,
            1 => self != Self::First,
            2 => self == Self::Third,
            _ => self != Self::Third,
        }
    }
}

pub(crate) async fn act(number: u32, seat: &Arc<Seat>, ctx: &Context) -> Whatever {
    let Some(world) = seat.world.upgrade() else { return Err("the history is over".into()) };
    let (mut run, act) = Run::begin(&world, seat, number, ctx.id());
    if world.truth.has(Bug::GraceForAll) {
        let _not_yet = ctx.is_cancelled();
    }
    if world.plan.task(number).is_some_and(|task| task.effect) {
        ctx.dispatch_on_success(alpha::dispatch(number + EFFECTS))?;
    }
    match act {
        Act::Return(works) => {
            work(works).await;
            Ok(run.end(End::Returned))
        }
        Act::Fail(works) => {
            work(works).await;
            run.end(End::Failed);
            Err("planned".into())
        }
        Act::FailAsking(after) => {
            run.end(End::FailedAsking(after));
            Err(TaskError::retry_after(after, "planned").into())
        }
        Act::FailForGood => {
            run.end(End::FailedForGood);
            Err(TaskError::permanent(FOR_GOOD).into())
        }
        Act::Panic => {
            run.end(End::Failed);
            panic!("planned")
        }
        Act::Hang => std::future::pending().await,
        Act::Snooze(after) => {
            run.end(End::Snoozed(after));
            Err(TaskError::snooze(after).into())
        }
        Act::GiveUp => {
            run.end(End::GaveUp);
            Err(TaskError::cancel("planned").into())
        }
        Act::Block(lasts) => {
            world.block(seat, lasts);
            seat.pass().await;
            Ok(run.end(End::Returned))
        }
        Act::Listen(at_most, then) => {
            let _told = tokio::time::timeout(at_most, ctx.cancelled()).await;
            work(then).await;
            Ok(run.end(End::Returned))
        }
        Act::Kill => {
            world.crash(seat, Duration::from_millis(500));
            seat.pass().await;
            Err("the history is over".into())
        }
    }
}

/// Some work, with a few awaits in it.
async fn work(works: Duration) {
    for _ in 0..3 {
        sleep(works / 3).await;
    }
}

/// Stores a planned schedule.
pub(crate) async fn schedule(runtime: &Runtime, plan: &SchedulePlan) -> Result<(), DispatchError> {
    let dispatch = alpha::dispatch(plan.number).on(runtime);
    let recurring = match plan.rule {
        RulePlan::Elapsed { every, runs } => dispatch.every(every).max_runs(runs),
        RulePlan::Repeated { every, runs } => {
            let cron = format!("*/{} * * * * *", every.as_secs());
            dispatch.cron(&cron).tz(wall::ZONE).max_runs(runs)
        }
        RulePlan::Fixed => {
            dispatch.every(every_day().at_times(wall::times())).tz(wall::ZONE).until(wall::until())
        }
        // Its handler says so, and nobody asks.
        RulePlan::Declared => return Ok(()),
    };
    recurring.overlap(plan.overlap).missed(plan.missed).key(plan.key()).await.map(drop)
}

/// Dispatches a task whose number says all.
pub(crate) async fn probe(
    runtime: &Runtime,
    number: u32,
    after: Duration,
) -> Result<TaskId, DispatchError> {
    let mut dispatch = alpha::dispatch(number).on(runtime).after(after);
    if let Some(limit) = limit(number) {
        dispatch = dispatch.timeout(limit);
    }
    Ok(dispatch.await?.id())
}

/// Dispatches a task that has nothing to do, and waits for what it returns.
pub(crate) async fn output(runtime: &Runtime) -> Result<u64, Box<dyn Error + Send + Sync>> {
    Ok(alpha::dispatch(PROBE).on(runtime).timeout(600 * SECOND).await?.output().await?)
}

/// Dispatches the crowd that comes with a planned task.
pub(crate) async fn crowd(runtime: &Runtime, task: &TaskPlan) -> Result<(), DispatchError> {
    let crowd = task.crowd().map(alpha::new);
    evertask::dispatch_all(crowd).on(runtime).await.map(drop)
}

/// Dispatches a planned task, as a program of this release does.
pub(crate) async fn dispatch(
    release: Release,
    runtime: &Runtime,
    task: &TaskPlan,
    clock: SystemTime,
) -> Result<(TaskId, Dispatched), DispatchError> {
    match task.handler {
        0 => planned!(alpha::dispatch(task.number), runtime, task, clock),
        1 => planned!(beta::dispatch(task.number), runtime, task, clock),
        2 => planned!(gamma::dispatch(task.number), runtime, task, clock),
        4 => papers::dispatch(release, runtime, task, clock).await,
        _ => planned!(gamma_old::dispatch(task.number), runtime, task, clock),
    }
}
