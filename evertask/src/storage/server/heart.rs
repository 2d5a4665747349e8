//! Signs of life that do not depend on the executor on which handlers run.
//!
//! A node's beat is sent from the storage's own thread, on a connection of its own. It goes on while a handler blocks the
//! executor, so its tasks are not taken away for that; but not for ever: a node whose runtime has not renewed for its stall
//! limit is left to the others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use super::{Fault, Line, Purpose, Server, Transition};
use crate::{
    chance::jittered,
    storage::{Node, NodeId},
};

/// The longest between two beats.
const LONGEST: Duration = Duration::from_secs(3);
/// A beat that is not answered within a quarter of a lease is given up with its connection, so that there is time for others.
/// Not sooner than this, for servers that are only slow, and not later.
const LIMITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// The nodes of this process.
#[derive(Debug, Default)]
pub(crate) struct Heart {
    nodes: Mutex<HashMap<NodeId, Life>>,
    /// When the server last said that it is there for nobody.
    away: Mutex<Option<Instant>>,
    joined: Notify,
}

#[derive(Debug)]
struct Life {
    /// When its runtime renewed last.
    renewed: Instant,
    /// When the last sign of life was sent that has arrived; none has since it signed off.
    beaten: Option<Instant>,
    lease: Duration,
    stall_limit: Duration,
}

impl Heart {
    /// Announces a node. Beats may go out at once; but that it is tried is no sign of life, only that it has arrived.
    pub(crate) async fn announce<E>(
        &self,
        node: &Node,
        join: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        let sent = Instant::now();
        self.join(node);
        join.await?;
        self.beaten(&[node.id], sent);
        Ok(())
    }

    fn join(&self, node: &Node) {
        let Node { lease, stall_limit, .. } = *node;
        let mut nodes = self.nodes();
        let beaten = nodes.get(&node.id).and_then(|life| life.beaten);
        nodes.insert(node.id, Life { renewed: Instant::now(), beaten, lease, stall_limit });
        self.joined.notify_one();
    }

    /// How long ago the last sign of life of this node was sent that has arrived.
    pub(crate) fn since_beat(&self, node: NodeId) -> Option<Duration> {
        self.nodes().get(&node).and_then(|life| life.beaten).map(|at| at.elapsed())
    }

    /// How long ago the server last said that it is there for nobody.
    pub(crate) fn since_away(&self) -> Option<Duration> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }

    fn is_away(&self) {
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Signs of life of these nodes have arrived that were sent then.
    fn beaten(&self, nodes: &[NodeId], sent: Instant) {
        let mut all = self.nodes();
        for node in nodes {
            if let Some(life) = all.get_mut(node) {
                life.beaten = life.beaten.max(Some(sent));
            }
        }
    }

    pub(crate) fn renew(&self, node: NodeId) {
        if let Some(life) = self.nodes().get_mut(&node) {
            life.renewed = Instant::now();
        }
    }

    /// All that are here. Where the server wakes nobody, one looks for what concerns them.
    #[cfg(feature = "mysql")]
    pub(crate) fn all(&self) -> Vec<NodeId> {
        self.nodes().keys().copied().collect()
    }

    pub(crate) fn leave(&self, node: NodeId) {
        self.nodes().remove(&node);
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<NodeId, Life>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beating(&self) -> Vec<NodeId> {
        let nodes = self.nodes();
        let beating = nodes.iter().filter(|(_, life)| life.renewed.elapsed() < life.stall_limit);
        beating.map(|(node, _)| *node).collect()
    }

    /// How long until the next beat.
    fn pause(&self) -> Duration {
        self.nodes().values().map(|life| life.lease / 5).fold(LONGEST, Duration::min)
    }

    /// How long a beat may take.
    fn limit(&self) -> Duration {
        let quarters = self.nodes().values().map(|life| life.lease / 4).min();
        quarters.unwrap_or(LIMITS.1).clamp(LIMITS.0, LIMITS.1)
    }
}

/// Beats until `open` is closed: `beats` is one of these nodes, and answers which of them are announced.
pub(crate) async fn beat<S: Server, B: Transition<S, Answer = Vec<NodeId>>>(
    site: Arc<S>,
    heart: Arc<Heart>,
    beats: impl Fn(Vec<NodeId>) -> B,
    mut open: watch::Receiver<()>,
) {
    if site.is_timed() {
        // Whoever makes the time makes the beats as well.
        return;
    }
    let mut line = Line::new(Arc::clone(&site), Purpose::Write);
    let mut failing: Option<Instant> = None;
    loop {
        // One that did not get through is late already.
        let pause = if failing.is_some() { heart.limit() / 8 } else { heart.pause() };
        tokio::select! {
            () = sleep(jittered(pause)) => {}
            () = heart.joined.notified() => {}
            _closed = open.changed() => return,
        }
        let nodes = heart.beating();
        if nodes.is_empty() {
            continue;
        }
        line.hasten(heart.limit());
        let sent = Instant::now();
        let beaten = line.run(&beats(nodes)).await;
        if beaten.as_ref().is_err_and(Fault::is_away) {
            heart.is_away();
        }
        match beaten {
            Ok(known) => {
                heart.beaten(&known, sent);
                if let Some(since) = failing.take() {
                    tracing::info!(silent_for = ?since.elapsed(), "signs of life reach the database again");
                    site.doubt().raise();
                }
            }
            Err(fault) if failing.is_none() => {
                tracing::warn!(error = %fault, "a sign of life did not reach the database");
                failing = Some(Instant::now());
            }
            Err(fault) => tracing::debug!(error = %fault, "nor did this one"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_only_tries_to_announce_itself_has_given_no_sign_of_life() {
        let heart = Heart::default();
        let node = Node::new([].into(), Vec::new());
        let beaten = || heart.nodes().get(&node.id).and_then(|life| life.beaten);
        let try_it = async |arrives: Result<(), ()>| {
            assert_eq!(heart.announce(&node, async { arrives }).await, arrives);
            beaten()
        };
        assert_eq!(try_it(Err(())).await, None);
        let first = try_it(Ok(())).await;
        assert!(first.is_some());
        assert_eq!(try_it(Err(())).await, first, "nor has one that is known already");
        assert!(try_it(Ok(())).await > first);
        heart.leave(node.id);
        assert_eq!(try_it(Err(())).await, None, "nor one that signed off");
    }
}
