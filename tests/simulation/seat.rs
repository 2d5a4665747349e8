//! A place in the cluster and the node that has it: one life of one process, which may end, stand still, or be cut off.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use evertask::{
    Runtime, TaskId,
    storage::{Bell, NodeId},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{plan::Release, world::World};

/// One life of one process.
pub(crate) struct Seat {
    pub(crate) world: Weak<World>,
    pub(crate) place: usize,
    pub(crate) slots: usize,
    pub(crate) release: Release,
    pub(crate) bell: Bell,
    life: watch::Sender<Life>,
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
    /// What it runs and had to end by what the storage knew at its last sign of life.
    pub(crate) to_end: Vec<(TaskId, u64)>,
    /// The storage is out of reach until then; it says so, or says nothing.
    pub(crate) cut: Option<(Instant, bool)>,
    /// The storage wakes nobody here until then.
    pub(crate) deaf: Option<Instant>,
    /// Its shutdown has returned.
    pub(crate) shut: bool,
    /// It is being shut down.
    pub(crate) closing: bool,
    /// It has left, by what the storage knows.
    pub(crate) left: bool,
    /// When its last sign of life arrived.
    pub(crate) beat: Option<Instant>,
    /// Nodes it may take for dead by what it was told last.
    pub(crate) dead: BTreeSet<NodeId>,
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
            life: watch::Sender::new(Life::Lives),
            inside: Mutex::default(),
        })
    }

    /// Goes on when the process does: at once, later, or never. `false` once the history is over.
    pub(crate) async fn pass(&self) -> bool {
        let mut life = self.life.subscribe();
        loop {
            let now = *life.borrow_and_update();
            match now {
                Life::Lives => return true,
                Life::Over => return false,
                Life::Stands(until) if Instant::now() >= until => return true,
                Life::Stands(until) => sleep_until(until).await,
                Life::Dead => drop(life.changed().await),
            }
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        matches!(*self.life.borrow(), Life::Dead | Life::Over)
    }

    pub(crate) fn stands(&self) -> bool {
        matches!(*self.life.borrow(), Life::Stands(until) if Instant::now() < until)
    }

    /// A runtime that could be asked something.
    pub(crate) fn runtime(&self) -> Option<Runtime> {
        let inside = self.inside.lock().unwrap();
        inside.runtime.clone().filter(|_| !self.is_dead() && !inside.closing)
    }

    pub(crate) fn die(&self) {
        self.life.send_replace(Life::Dead);
    }

    /// Everything is over: whoever still waits here may go.
    pub(crate) fn bury(&self) {
        self.life.send_replace(Life::Over);
        let runtime = self.inside.lock().unwrap().runtime.take();
        drop(runtime);
    }

    pub(crate) fn stand(&self, lasts: Duration) {
        let until = Instant::now() + lasts;
        self.life.send_if_modified(|life| {
            let longer = match *life {
                Life::Lives => true,
                Life::Stands(before) => before < until,
                Life::Dead | Life::Over => false,
            };
            if longer {
                *life = Life::Stands(until);
            }
            longer
        });
    }

    /// Nothing keeps it from the storage any more, and it looks at everything again.
    pub(crate) fn heal(&self) {
        self.life.send_if_modified(|life| {
            let stood = matches!(life, Life::Stands(_));
            if stood {
                *life = Life::Lives;
            }
            stood
        });
        let mut inside = self.inside.lock().unwrap();
        (inside.cut, inside.deaf) = (None, None);
        drop(inside);
        self.bell.all();
        self.bell.peers();
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

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").field("place", &self.place).finish_non_exhaustive()
    }
}
