//! Who is told of a commit: those who listen, by the process that made it, once that knows of it.
//!
//! So a process that dies after a commit tells nobody, and one that has lost the answer tells when it has said it again.

use std::{sync::Arc, time::Duration};

use evertask::TaskId;
use tokio::time::sleep;

use crate::{bugs::Bug, seat::Seat, world::World};

/// What is told.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ring {
    Work(Duration),
    Orders,
    Peers,
    Schedules,
    Ended(TaskId),
}

impl World {
    /// What the call that has just been done has to tell.
    pub(crate) fn to_tell(&self) -> Vec<Ring> {
        self.look(|inner| std::mem::take(&mut inner.rings))
    }

    /// Tells the process itself at once, and the others a little later, or never.
    pub(crate) async fn tell(&self, seat: &Arc<Seat>, rings: Vec<Ring>) {
        if !rings.is_empty() && seat.pass().await {
            self.tell_now(seat, rings);
        }
    }

    pub(crate) fn tell_now(&self, seat: &Arc<Seat>, rings: Vec<Ring>) {
        for ring in rings {
            let missing = match ring {
                Ring::Work(_) => Some(Bug::WakeUpLost),
                Ring::Ended(_) => Some(Bug::EndsAreNotTold),
                _ => None,
            };
            if missing.is_some_and(|bug| self.truth.has(bug)) {
                continue;
            }
            sound(seat, ring);
            self.tell_others(seat, ring);
        }
    }

    fn tell_others(&self, seat: &Arc<Seat>, ring: Ring) {
        self.look(|inner| {
            let live = inner.places.iter().flatten();
            let others: Vec<_> = live.filter(|it| !Arc::ptr_eq(seat, it)).cloned().collect();
            for other in others {
                let lost = !inner.peace && inner.rng.u8(0..40) == 0;
                let late = Duration::from_millis(inner.rng.u64(0..20));
                if !lost && other.hears() {
                    tokio::spawn(async move {
                        sleep(late).await;
                        if other.hears() {
                            sound(&other, ring);
                        }
                    });
                }
            }
        });
    }
}

fn sound(seat: &Seat, ring: Ring) {
    match ring {
        Ring::Work(due_in) => seat.bell.work(due_in),
        Ring::Orders => seat.bell.orders(),
        Ring::Peers => seat.bell.peers(),
        Ring::Schedules => seat.bell.schedules(),
        Ring::Ended(id) => seat.bell.ended([id]),
    }
}
