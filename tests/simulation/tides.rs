//! A handler that declares when it runs, in two releases that say it differently, the older of which has been here for long.

use std::sync::Arc;

use evertask::{Builder, Runtime};

use crate::{
    plan::Release,
    rules::{Broken, Rule},
    seat::Seat,
    world::{Inner, World},
};

/// The stored name of the handler, and the key of its schedule.
pub(crate) const NAME: &str = "tide";

/// What is stored of what each release declares, the older one first. They have no instant in common.
const RULES: [&str; 2] =
    ["v1 cron */10 * * * * * tz UTC", "v1 cron 5,15,25,35,45,55 * * * * * tz UTC"];

mod older {
    use std::sync::Arc;

    use evertask::{Context, State};

    use crate::{
        handlers::{Whatever, act},
        plan::TIDE,
        seat::Seat,
    };

    #[evertask::handler(cron = "*/10 * * * * *", queue = "one")]
    pub(super) async fn tide(seat: State<Arc<Seat>>, ctx: Context) -> Whatever {
        act(TIDE, &seat, &ctx).await
    }
}

mod newer {
    use std::sync::Arc;

    use evertask::{Context, State};

    use crate::{
        handlers::{Whatever, act},
        plan::TIDE,
        seat::Seat,
    };

    #[evertask::handler(cron = "5,15,25,35,45,55 * * * * *", queue = "one")]
    pub(super) async fn tide(seat: State<Arc<Seat>>, ctx: Context) -> Whatever {
        act(TIDE, &seat, &ctx).await
    }
}

/// What this release has of it.
pub(crate) fn install(release: Release, builder: Builder) -> Builder {
    match release {
        Release::First | Release::Second => builder.handler::<older::tide>(),
        Release::Third => builder.handler::<newer::tide>(),
    }
}

/// The older release was here, and has gone.
pub(crate) async fn before(world: &Arc<World>) {
    let seat = Seat::new(world, world.plan.nodes.len() + 1, 1, Release::First);
    let builder = Runtime::builder().storage(world.truth.memory.clone()).discover(false);
    let node = install(Release::First, builder.state(seat)).start().await;
    let done = node.expect("nothing goes wrong yet").shutdown().await;
    done.expect("nothing goes wrong yet");
}

/// What the newer release has declared once, stands.
pub(crate) fn check(world: &World, inner: &mut Inner, seat: &Seat) -> Result<(), Broken> {
    let Some(stored) = world.truth.rule(NAME, NAME) else { return Ok(()) };
    let release = RULES.iter().position(|rule| *rule == stored);
    if release < inner.tide {
        return Err(Broken {
            rule: Rule::NewerRuleStands,
            how: format!("{stored:?} is stored again, by the {:?} release", seat.release),
            task: None,
            place: Some(seat.place),
        });
    }
    inner.tide = release;
    Ok(())
}
