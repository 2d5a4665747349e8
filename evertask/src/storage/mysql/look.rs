//! Looks for what other processes did: when one of them has woken us, and about once a second, as none may be able to.
//!
//! A look is one packet of a few questions, each answered by an index; who is woken by it asks for the rest. It asks only for
//! what somebody here has asked for before: tasks in the lanes of the last claims, schedules of the handlers of the last look
//! at those.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    connection::Connection,
    ear,
    error::Fault,
    lane::{self, LaneId},
    literal::List,
    site::Site,
};
use crate::{
    chance::jittered,
    storage::{
        NodeId,
        server::{Heart, Line, Purpose, Transition},
    },
};

/// Whether a cancel was asked for of something that these nodes hold.
pub(super) const ORDERS: &str =
    "SELECT 1 FROM {tasks} FORCE INDEX (running) WHERE node IN ? AND cancel_asked LIMIT 1";

/// Whether something is due in these lanes.
pub(super) const DUE: &str = "SELECT 1 FROM {tasks} FORCE INDEX (pending) WHERE line IN ? AND due_at <= @evertask_now LIMIT 1";

/// Whether a schedule of these handlers has come up.
pub(super) const COME_UP: &str = "SELECT 1 FROM {schedules} FORCE INDEX (upcoming)
    WHERE name IN ? AND next_at <= @evertask_now AND format <= ? LIMIT 1";

/// What is looked for.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Watched>);

#[derive(Debug, Default, Clone)]
struct Watched {
    lanes: BTreeSet<LaneId>,
    handlers: BTreeSet<String>,
    format: u32,
}

impl Watch {
    /// A claim has looked at these.
    pub(super) fn lanes(&self, lanes: impl Iterator<Item = LaneId>) {
        self.watched().lanes.extend(lanes);
    }

    /// Schedules of these handlers were looked for, up to this format.
    pub(super) fn schedules(&self, handlers: impl Iterator<Item = String>, format: u32) {
        let mut watched = self.watched();
        watched.handlers.extend(handlers);
        watched.format = watched.format.max(format);
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether our ear sleeps.
const ASLEEP: &str = "SELECT 1 FROM information_schema.processlist WHERE id = ? AND info = ?";

/// How soon to look again while the ear does not sleep yet, and how often.
const FALLS_ASLEEP: Duration = Duration::from_millis(1);
const LOOKS: u32 = 50;

/// Looks until `open` is closed.
pub(super) async fn run(
    site: Arc<Site>,
    heart: Arc<Heart>,
    every: Duration,
    mut open: watch::Receiver<()>,
) {
    let mut line = Line::new(Arc::clone(&site), Purpose::Read);
    // Somewhat more or less, so that processes do not look in step.
    let next = || Instant::now() + jittered(every.mul_f64(1.25));
    let mut look_at = next();
    loop {
        let woken = tokio::select! {
            () = site.ear.heard() => true,
            () = sleep_until(look_at) => {
                // Who waits for the end of a task looks at that one; nobody waiting costs nothing.
                site.bell.ended_elsewhere();
                look_at = next();
                false
            }
            _closed = open.changed() => return,
        };
        // What is stored while the ear falls asleep is seen by a look that comes after that, and by no other.
        for _ in 0..if woken { LOOKS } else { 1 } {
            let nodes = heart.all();
            if nodes.is_empty() {
                break;
            }
            match line.run(&Look { nodes, woken }).await {
                Ok(seen) => {
                    seen.ring(&site);
                    if seen.asleep {
                        break;
                    }
                }
                Err(fault) => {
                    tracing::debug!(error = %fault, "no look at {}", site.settings.place);
                    break;
                }
            }
            if woken {
                sleep(FALLS_ASLEEP).await;
            }
        }
    }
}

/// What there is for somebody here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Whatever was stored since ends the sleep of our ear.
    pub(super) asleep: bool,
    orders: bool,
    work: bool,
    schedules: bool,
}

impl Seen {
    fn ring(&self, site: &Site) {
        if self.orders {
            site.bell.orders();
        }
        if self.work {
            // Before they are told, so that the claims that they make for it count.
            site.ear.is_told();
            site.bell.work(Duration::ZERO);
        }
        if self.schedules {
            site.bell.schedules();
        }
    }
}

pub(super) struct Look {
    /// Whom it is for.
    pub(super) nodes: Vec<NodeId>,
    /// The ear was woken, and is to sleep again.
    pub(super) woken: bool,
}

impl Transition<Site> for Look {
    type Answer = Seen;

    const DOING: &'static str = "cannot look for what others did";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Seen, Fault> {
        let Watched { lanes, handlers, format } = site.watch.watched().clone();
        let lanes: Vec<LaneId> = lanes.into_iter().collect();
        let handlers: Vec<String> = handlers.into_iter().collect();
        let mut script = site.at_now();
        let ear = site.ear.session();
        let asleep = self.woken.then(|| script.add(ASLEEP, &[&ear, &ear::statement(site)]));
        let orders = script.add(ORDERS, &[&List(&self.nodes)]);
        let new = script.add(lane::NEW, &[&site.lanes().last()]);
        let due = script.add(DUE, &[&List(&lanes)]);
        let come_up = script.add(COME_UP, &[&List(&handlers), &format]);
        let answers = conn.run(script).await?;
        let any = |place| Ok::<_, Fault>(!answers.rows(place)?.is_empty());
        // A lane that nobody here has heard of was made for a task; the next claim knows whether it is one for us.
        site.lanes().learn(answers.rows(new)?)?;
        Ok(Seen {
            asleep: asleep.map(any).transpose()?.unwrap_or(false),
            orders: any(orders)?,
            work: any(new)? || any(due)?,
            schedules: any(come_up)?,
        })
    }
}
