//! A place in the cluster and the node that has it: one life of one process, which may end, stand still, or be cut off.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use evertask::{
    Runtime, TaskId,
    process::{self, Process},
    storage::{Bell, NodeId},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{bugs::Bug, plan::Release, world::World};

/// One life of one process.
pub(crate) struct Seat {
    pub(crate) world: Weak<World>,
    pub(crate) place: usize,
    pub(crate) slots: usize,
    pub(crate) release: Release,
    pub(crate) bell: Bell,
    life: Mutex<Life>,
    /// Wakes in the order in which it was waited for, as a channel that is watched does not.
    changed: Notify,
    /// What of it was to go on while it stood still.
    stopped: Mutex<Vec<Waker>>,
    /// Its start is to be given up.
    pub(crate) given_up: Notify,
    pub(crate) inside: Mutex<Inside>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Lives,
    /// Stands still until then.
    Stands(Instant),
    Dead,
    /// The whole history is over.
    Over,
}

/// What is known of a node from outside.
#[derive(Default)]
pub(crate) struct Inside {
    pub(crate) runtime: Option<Runtime>,
    pub(crate) node: Option<NodeId>,
    /// The newest lease of each task that it was told it has.
    pub(crate) leases: BTreeMap<TaskId, u64>,
    /// What it runs.
    pub(crate) running: BTreeSet<(TaskId, u64)>,
    /// When it last began or ended something.
    pub(crate) busy: Duration,
    /// What it runs and had to end by what the storage knew at its last sign of life.
    pub(crate) to_end: Vec<(TaskId, u64)>,
    /// The storage is out of reach until then; it says so, or says nothing.
    pub(crate) cut: Option<(Instant, bool)>,
    /// The storage wakes nobody here until then.
    pub(crate) deaf: Option<Instant>,
    /// Its shutdown has returned.
    pub(crate) shut: bool,
    /// A handler keeps its executor for itself until then.
    pub(crate) blocked: Option<Instant>,
    /// When the last thing was over that may have kept it from its work, since the beginning of the history.
    pub(crate) disturbed: Duration,
    /// The answer to its next dispatch is to be lost.
    pub(crate) loses_answer: bool,
    /// When it stood still: from when to when.
    pub(crate) stood: Vec<(Instant, Instant)>,
    /// Since when it is no more.
    pub(crate) gone: Option<Instant>,
    /// When the newest of its renewals that have arrived was sent.
    pub(crate) renewed: Option<Duration>,
    /// It is being shut down, since then.
    pub(crate) closing: Option<Instant>,
    /// It has left, by what the storage knows.
    pub(crate) left: bool,
    /// When its last sign of life arrived.
    pub(crate) beat: Option<Instant>,
    /// When its own thread gave it up: since then others may have what it runs.
    pub(crate) given_up: Option<Instant>,
    /// Where no sign of life of it had arrived for its lease, or it was given up: from when to when.
    pub(crate) cut_off: Vec<(Instant, Instant)>,
    /// When it first and last saw what the others do, and the times between in which it did not look: when each ended, how long.
    pub(crate) looked: Option<(Instant, Instant)>,
    /// When it heard what it saw last.
    pub(crate) heard: Option<Instant>,
    pub(crate) unseen: Vec<(Instant, Duration)>,
    /// Nodes it may take for dead by what it was told last.
    pub(crate) dead: BTreeSet<NodeId>,
}

impl Inside {
    /// A sign of life has arrived.
    pub(crate) fn beats(&mut self, lease: Duration) {
        let now = Instant::now();
        let since = self.cut_off_since(lease);
        self.cut_off.extend(since.map(|since| (since, now)));
        self.given_up = None;
        (self.beat, self.left) = (Some(now), false);
    }

    /// Since when it is.
    fn cut_off_since(&self, lease: Duration) -> Option<Instant> {
        let silent = self.beat.map(|beat| beat + lease).filter(|at| *at <= Instant::now());
        silent.into_iter().chain(self.given_up).min()
    }

    /// No sign of life has arrived for a lease, and it has not been signed off, so that it could know.
    pub(crate) fn is_silent(&self, lease: Duration) -> bool {
        !self.left && self.beat.is_some_and(|beat| beat.elapsed() >= lease)
    }

    /// It was at that time; or ever, if it is not known when.
    pub(crate) fn was_cut_off(&self, at: Option<Instant>, lease: Duration) -> bool {
        let moment = Duration::from_millis(10);
        let now = self.cut_off_since(lease).map(|since| (since, Instant::now()));
        let mut times = self.cut_off.iter().copied().chain(now);
        // Told to stop then, what runs ends when its process moves again.
        let late = |to, at| at <= to + lease + self.stood_between(to, at);
        times.any(|(from, to)| at.is_none_or(|at| at + moment >= from && late(to, at)))
    }

    /// For how long of that time it stood still.
    pub(crate) fn stood_between(&self, from: Instant, until: Instant) -> Duration {
        let both = |(began, ended): &(Instant, Instant)| {
            (*ended).min(until).saturating_duration_since((*began).max(from))
        };
        self.stood.iter().map(both).sum()
    }
}

impl Seat {
    pub(crate) fn new(
        world: &Arc<World>,
        place: usize,
        slots: usize,
        release: Release,
    ) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::downgrade(world),
            place,
            slots,
            release,
            bell: Bell::new(),
            life: Mutex::new(Life::Lives),
            changed: Notify::new(),
            stopped: Mutex::default(),
            given_up: Notify::new(),
            inside: Mutex::default(),
        })
    }

    /// Goes on when the process does: at once, later, or never. `false` once the history is over.
    pub(crate) async fn pass(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            let now = self.life();
            match now {
                Life::Lives => return true,
                Life::Over => return false,
                Life::Stands(until) if Instant::now() >= until => return true,
                Life::Stands(until) => drop(timeout_at(until, changed).await),
                Life::Dead => changed.await,
            }
        }
    }

    fn life(&self) -> Life {
        *self.life.lock().unwrap()
    }

    fn set(&self, life: Life) {
        *self.life.lock().unwrap() = life;
        self.changed.notify_waiters();
        self.go_on();
    }

    /// What was to go on looks whether it may.
    fn go_on(&self) {
        let stopped = std::mem::take(&mut *self.stopped.lock().unwrap());
        stopped.into_iter().for_each(Waker::wake);
    }

    /// What this process does, for as long as it moves.
    pub(crate) fn does<F: Future + Send>(
        self: &Arc<Self>,
        what: F,
    ) -> impl Future<Output = F::Output> + Send + use<F> {
        process::of(Arc::clone(self) as Arc<dyn Process>, what)
    }

    fn goes_on_anyhow(&self) -> bool {
        self.world.upgrade().is_some_and(|world| world.truth.has(Bug::StandsInWordOnly))
    }

    pub(crate) fn is_dead(&self) -> bool {
        matches!(self.life(), Life::Dead | Life::Over)
    }

    pub(crate) fn stands(&self) -> bool {
        matches!(self.life(), Life::Stands(until) if Instant::now() < until)
    }

    /// A runtime that could be asked something.
    pub(crate) fn runtime(&self) -> Option<Runtime> {
        let inside = self.inside.lock().unwrap();
        inside.runtime.clone().filter(|_| !self.is_dead() && inside.closing.is_none())
    }

    pub(crate) fn die(&self) {
        self.inside.lock().unwrap().gone.get_or_insert_with(Instant::now);
        self.set(Life::Dead);
    }

    /// When its last sign of life arrived.
    pub(crate) fn beat_at(&self) -> Option<Instant> {
        self.inside.lock().unwrap().beat
    }

    /// Since when it is no more.
    pub(crate) fn gone_at(&self) -> Option<Instant> {
        self.inside.lock().unwrap().gone
    }

    /// It stood still then, or had hardly begun to move again.
    pub(crate) fn stood_at(&self, at: Instant) -> bool {
        let moment = Duration::from_millis(600);
        let inside = self.inside.lock().unwrap();
        inside.stood.iter().any(|(from, to)| at >= *from && at <= *to + moment)
    }

    /// Everything is over: whoever still waits here may go.
    pub(crate) fn bury(&self) {
        self.set(Life::Over);
        let runtime = self.inside.lock().unwrap().runtime.take();
        drop(runtime);
    }

    pub(crate) fn stand(self: &Arc<Self>, lasts: Duration) {
        let until = Instant::now() + lasts;
        let longer = match self.life() {
            Life::Lives => true,
            Life::Stands(before) => before < until,
            Life::Dead | Life::Over => false,
        };
        if longer {
            self.inside.lock().unwrap().stood.push((Instant::now(), until));
            self.set(Life::Stands(until));
            let seat = Arc::clone(self);
            tokio::spawn(async move {
                sleep_until(until).await;
                seat.go_on();
            });
        }
    }

    /// Nothing keeps it from the storage any more; if something did, it looks at everything again.
    pub(crate) fn heal(&self) {
        if matches!(self.life(), Life::Stands(_)) {
            self.set(Life::Lives);
        }
        let mut inside = self.inside.lock().unwrap();
        let now = Instant::now();
        inside.stood.iter_mut().for_each(|(_, to)| *to = now.min(*to));
        inside.blocked = None;
        let back = inside.cut.take().is_some() | inside.deaf.take().is_some();
        drop(inside);
        if back {
            self.bell.all();
            self.bell.peers();
        }
    }

    /// When it last began or ended something.
    pub(crate) fn busy_at(&self) -> Duration {
        self.inside.lock().unwrap().busy
    }

    /// When the last thing was over that may have kept it from its work.
    pub(crate) fn disturbed(&self) -> Duration {
        self.inside.lock().unwrap().disturbed
    }

    /// Nothing has kept it from its work since shortly before that.
    pub(crate) fn undisturbed_since(&self, at: Duration) -> bool {
        self.disturbed() + Duration::from_secs(3) < at
    }

    /// Whether the answer to its next dispatch is to be lost. It is the next only once.
    pub(crate) fn loses_answer(&self) -> bool {
        std::mem::take(&mut self.inside.lock().unwrap().loses_answer)
    }

    /// Something may keep it from its work until then.
    pub(crate) fn disturb(&self, until: Duration) {
        let mut inside = self.inside.lock().unwrap();
        inside.disturbed = inside.disturbed.max(until);
    }

    /// Whether a call gets through: `Err(silent)` if not.
    pub(crate) fn reaches(&self) -> Result<(), bool> {
        match self.inside.lock().unwrap().cut {
            Some((until, silent)) if Instant::now() < until => Err(silent),
            _ => Ok(()),
        }
    }

    pub(crate) fn hears(&self) -> bool {
        let deaf = self.inside.lock().unwrap().deaf.is_some_and(|until| Instant::now() < until);
        !deaf && self.reaches().is_ok()
    }
}

impl Process for Seat {
    fn poll_moves(&self, context: &mut Context<'_>) -> Poll<()> {
        match self.life() {
            Life::Lives => Poll::Ready(()),
            Life::Stands(until) if Instant::now() >= until || self.goes_on_anyhow() => {
                Poll::Ready(())
            }
            Life::Stands(_) => {
                self.stopped.lock().unwrap().push(context.waker().clone());
                Poll::Pending
            }
            Life::Dead | Life::Over => Poll::Pending,
        }
    }
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").field("place", &self.place).finish_non_exhaustive()
    }
}
