//! A handler that blocks: its executor stands still, and the thread beside that goes on.
//!
//! The real thread goes by the clock of the machine, which nobody can pause; here is what it does, in simulated time.

use std::{sync::Arc, time::Duration};

use evertask::storage::{Beat, NodeId, Storage as _};
use tokio::time::{Instant, sleep};

use crate::{
    seat::Seat,
    world::{World, at_once},
};

impl World {
    /// A handler keeps the executor of its node for itself.
    pub(crate) fn block(self: &Arc<Self>, seat: &Arc<Seat>, lasts: Duration) {
        self.stand(seat, lasts);
        let Some(node) = seat.inside.lock().unwrap().node else { return };
        let until = Instant::now() + lasts;
        seat.inside.lock().unwrap().blocked = Some(until);
        tokio::spawn(beat_on(Arc::clone(self), Arc::clone(seat), node, until));
    }
}

/// Signs of life go on until it has lasted too long; then the node is given up, until it moves again.
async fn beat_on(world: Arc<World>, seat: Arc<Seat>, node: NodeId, until: Instant) {
    let began = Instant::now();
    let mut given_up = false;
    while Instant::now() < until {
        sleep(world.plan.lease / 5).await;
        // A process that is stopped has no thread that goes on.
        let blocked = seat.inside.lock().unwrap().blocked == Some(until);
        if seat.is_dead() || !blocked || Instant::now() >= until {
            break;
        }
        if seat.reaches().is_err() || given_up {
            continue;
        }
        if began.elapsed() < world.plan.stall_limit {
            let _held = at_once(world.truth.memory.renew(Beat::new(node)));
            let mut inside = seat.inside.lock().unwrap();
            (inside.beat, inside.left) = (Some(Instant::now()), false);
        } else {
            given_up = true;
            world.say(Some(&seat), None, || "is given up by its own thread".into());
            let _left = world.leave(&seat, node);
            let rings = world.to_tell();
            world.tell_now(&seat, rings);
        }
    }
    if given_up && seat.pass().await {
        seat.bell.orders();
    }
}
