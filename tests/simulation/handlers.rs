//! The handlers of the simulated programs. All do the same: what the plan says of their task.

use std::{error::Error, sync::Arc, time::Duration};

use evertask::{
    Builder, Context, DispatchError, Dispatched, Overlap, Runtime, State, TaskError, TaskId,
    schedule::every_day,
};
use tokio::time::sleep;

use crate::{
    model::End,
    plan::{Act, EFFECTS, Plan, Release, TaskPlan},
    runs::Run,
    seat::Seat,
    series::{RulePlan, SchedulePlan},
    tides, wall,
};

pub(crate) type Whatever = Result<u64, Box<dyn Error + Send + Sync>>;

#[evertask::handler(queue = "one", backoff = "fixed(1s)", jitter = false, timeout = "10s")]
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

impl Release {
    /// The handlers of this release.
    pub(crate) fn install(self, builder: Builder, plan: &Plan) -> Builder {
        let mut builder = builder.handler::<alpha>();
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
            Self::First => &["alpha", "gamma_old", "tide"],
            Self::Second => &["alpha", "beta", "gamma_old", "tide"],
            Self::Third => &["alpha", "beta", "gamma", "gamma_old", "tide"],
        }
    }

    /// Whether it has the handler of this number.
    pub(crate) fn has(self, handler: usize) -> bool {
        match handler {
            0 => true,
            1 => self != Self::First,
            2 => self == Self::Third,
            _ => self != Self::Third,
        }
    }
}

pub(crate) async fn act(number: u32, seat: &Arc<Seat>, ctx: &Context) -> Whatever {
    seat.pass().await;
    let Some(world) = seat.world.upgrade() else { return Err("the history is over".into()) };
    let (mut run, act) = Run::begin(&world, seat, number, ctx.id());
    if world.plan.task(number).is_some_and(|task| task.effect) {
        ctx.dispatch_on_success(alpha::dispatch(number + EFFECTS))?;
    }
    match act {
        Act::Return(works) => {
            work(seat, works).await;
            Ok(run.end(End::Returned))
        }
        Act::Fail(works) => {
            work(seat, works).await;
            run.end(End::Failed);
            Err("planned".into())
        }
        Act::FailForGood => {
            run.end(End::FailedForGood);
            Err(TaskError::permanent("planned").into())
        }
        Act::Panic => {
            run.end(End::Failed);
            panic!("planned")
        }
        Act::Hang => std::future::pending().await,
        Act::Snooze(after) => {
            run.end(End::Snoozed);
            Err(TaskError::snooze(after).into())
        }
        Act::GiveUp => {
            run.end(End::GaveUp);
            Err(TaskError::cancel("planned").into())
        }
        Act::Block(lasts) => {
            world.stand(seat, lasts);
            seat.pass().await;
            Ok(run.end(End::Returned))
        }
        Act::Listen(at_most, then) => {
            let _told = tokio::time::timeout(at_most, ctx.cancelled()).await;
            seat.pass().await;
            work(seat, then).await;
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
async fn work(seat: &Seat, works: Duration) {
    for _ in 0..3 {
        sleep(works / 3).await;
        seat.pass().await;
    }
}

/// Stores a planned schedule.
pub(crate) async fn schedule(runtime: &Runtime, plan: &SchedulePlan) -> Result<(), DispatchError> {
    let overlap = if plan.overlap { Overlap::Allow } else { Overlap::Skip };
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
    recurring.overlap(overlap).key(plan.key()).await.map(drop)
}

/// Dispatches a task whose number says all.
pub(crate) async fn probe(
    runtime: &Runtime,
    number: u32,
    after: Duration,
) -> Result<TaskId, DispatchError> {
    let dispatch = alpha::dispatch(number).on(runtime).after(after);
    Ok(dispatch.timeout(Duration::from_secs(600)).await?.id())
}

/// Dispatches a planned task.
pub(crate) async fn dispatch(
    runtime: &Runtime,
    task: &TaskPlan,
) -> Result<(TaskId, Dispatched), DispatchError> {
    macro_rules! of {
        ($handler:ident) => {{
            let mut dispatch = $handler::dispatch(task.number)
                .on(runtime)
                .after(task.after)
                .priority(task.priority)
                .retries(task.retries);
            if let Some(key) = task.key {
                dispatch = dispatch.key(format!("key {key}"));
            }
            if let Some(after) = task.expires {
                dispatch = dispatch.expires(after);
            }
            let handle = dispatch.await?;
            Ok((handle.id(), handle.dispatched()))
        }};
    }
    match task.handler {
        0 => of!(alpha),
        1 => of!(beta),
        2 => of!(gamma),
        _ => of!(gamma_old),
    }
}
