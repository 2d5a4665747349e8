//! A handler whose payload has grown a field in the newest release: what that stores, an older one is not to get.

use evertask::{Builder, DispatchError, Dispatched, Runtime, TaskId};

use crate::plan::{Release, TaskPlan};

/// Its stored name.
pub(crate) const NAME: &str = "delta";

mod older {
    use std::sync::Arc;

    use evertask::{Context, State};

    use crate::{
        handlers::{Whatever, act},
        seat::Seat,
    };

    #[evertask::handler(queue = "one", backoff = "fixed(2s)", jitter = false, timeout = "10s")]
    pub(super) async fn delta(task: u32, seat: State<Arc<Seat>>, ctx: Context) -> Whatever {
        act(task, &seat, &ctx).await
    }
}

mod newer {
    use std::sync::Arc;

    use evertask::{Context, State};

    use crate::{
        handlers::{Whatever, act},
        seat::Seat,
    };

    #[evertask::handler(
        version = 2,
        queue = "one",
        backoff = "fixed(2s)",
        jitter = false,
        timeout = "10s"
    )]
    pub(super) async fn delta(
        task: u32,
        #[arg(default)] urgent: bool,
        seat: State<Arc<Seat>>,
        ctx: Context,
    ) -> Whatever {
        let _is_read = urgent;
        act(task, &seat, &ctx).await
    }
}

/// The newest version of its payload that this release can read.
pub(crate) fn version(release: Release) -> u32 {
    if release == Release::Third { 2 } else { 1 }
}

/// What this release has of it.
pub(crate) fn install(release: Release, builder: Builder) -> Builder {
    match release {
        Release::First | Release::Second => builder.handler::<older::delta>(),
        Release::Third => builder.handler::<newer::delta>(),
    }
}

/// Dispatches a planned task as this release does.
pub(crate) async fn dispatch(
    release: Release,
    runtime: &Runtime,
    task: &TaskPlan,
    clock: std::time::SystemTime,
) -> Result<(TaskId, Dispatched), DispatchError> {
    match release {
        Release::First | Release::Second => {
            planned!(older::delta::dispatch(task.number), runtime, task, clock)
        }
        Release::Third => {
            planned!(newer::delta::dispatch(task.number, true), runtime, task, clock)
        }
    }
}
