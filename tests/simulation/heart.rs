//! The thread that gives signs of life: it goes on while a handler blocks the executor, and stands still with its process.
//!
//! The real ones go by the clock of the machine, which nobody can pause; here is what they do, in simulated time.

use std::{sync::Arc, time::Duration};

use evertask::storage::{Beat, Storage as _};
use tokio::time::{Instant, sleep};

use crate::{
    seat::Seat,
    world::{World, at_once},
};

impl World {
    /// A handler keeps the executor of its node for itself.
    pub(crate) fn block(self: &Arc<Self>, seat: &Arc<Seat>, lasts: Duration) {
        self.stand(seat, lasts);
        seat.inside.lock().unwrap().blocked = Some(Instant::now() + lasts);
    }
}

/// Gives signs of life, until an executor has been blocked for too long; then the node is given up, until it moves again.
pub(crate) async fn beat(world: Arc<World>, seat: Arc<Seat>) {
    let mut blocked_since = None;
    loop {
        sleep(world.plan.lease / 5).await;
        if seat.is_dead() {
            return;
        }
        let (node, left, blocked) = {
            let inside = seat.inside.lock().unwrap();
            let blocked = inside.blocked.is_some_and(|until| Instant::now() < until);
            (inside.node, inside.left, blocked)
        };
        // A process that is stopped has no thread that goes on.
        let Some(node) = node.filter(|_| !left && (blocked || !seat.stands())) else { continue };
        if !blocked {
            blocked_since = None;
        } else if blocked_since.get_or_insert_with(Instant::now).elapsed() >= world.plan.stall_limit
        {
            blocked_since = None;
            world.say(Some(&seat), None, || "is given up by its own thread".into());
            seat.inside.lock().unwrap().given_up = Some(Instant::now());
            let _left = world.leave(&seat, node);
            let rings = world.to_tell();
            world.tell_now(&seat, rings);
            let seat = Arc::clone(&seat);
            tokio::spawn(async move {
                if seat.pass().await {
                    seat.bell.orders();
                }
            });
            continue;
        }
        if seat.reaches().is_ok() {
            let _held = at_once(world.truth.memory.renew(Beat::new(node)));
            seat.inside.lock().unwrap().beats(world.plan.lease);
        }
    }
}
