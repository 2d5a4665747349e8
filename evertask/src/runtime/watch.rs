//! Who is seen to be dead: whose signs of life have stood still for a whole lease while we were looking.
//!
//! Only time counts in which we were in touch with the storage. A node that was cut off, or stood still, has seen nobody die,
//! and an outage that silenced all of us proves nothing about any.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::storage::{Life, NodeId, Peer};

/// Between two looks no more of the lease's time than one part in so many is taken for time spent looking.
const UNSEEN_PARTS: u32 = 4;
/// What is on its way when a lease ends may still arrive.
const LAST_MOMENT: Duration = Duration::from_millis(250);

/// What a node knows of the others' lives.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The lease of those who do not say what theirs is.
    lease: Duration,
    seen: HashMap<NodeId, Seen>,
    /// When storage last answered.
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    beats: u64,
    /// Since when they have been the same, as far as we were there to see it.
    since: Instant,
    lease: Duration,
}

impl Watch {
    pub(crate) fn new(lease: Duration) -> Self {
        Self { lease, seen: HashMap::new(), looked: None }
    }

    /// What storage answered to a look: who is dead.
    pub(crate) fn look(&mut self, peers: &[Peer], asked: Instant, answered: Instant) -> Vec<Peer> {
        self.seen.retain(|node, _| peers.iter().any(|peer| peer.node == *node));
        let looked = self.looked.replace(answered);
        let gap = looked.map_or(Duration::ZERO, |looked| answered - looked);
        let mut dead = Vec::new();
        for peer in peers {
            let beats = match peer.life {
                Life::Alive => continue,
                Life::Dead => {
                    // Should it live again, its count may begin anew, and come to the same as before.
                    self.seen.remove(&peer.node);
                    dead.push(*peer);
                    continue;
                }
                Life::Beats(beats) => beats,
            };
            let lease = peer.lease.unwrap_or(self.lease);
            let counted = gap.min(lease / UNSEEN_PARTS);
            // A beat that is new to us came after our last look, so it is no older than that, whatever its clock says.
            let since = answered - peer.quiet.min(counted);
            match self.seen.get_mut(&peer.node) {
                Some(seen) if seen.beats == beats => {
                    seen.since += gap - counted;
                    if asked >= seen.dead_at() {
                        dead.push(*peer);
                    }
                }
                _ => {
                    self.seen.insert(peer.node, Seen { beats, since, lease });
                }
            }
        }
        dead
    }

    /// When one of them is dead, should nothing be heard of it.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.seen.values().map(Seen::dead_at).min()
    }

    /// Who was out of touch has seen nobody die.
    pub(crate) fn forget(&mut self) {
        self.seen.clear();
        self.looked = None;
    }
}

impl Seen {
    fn dead_at(&self) -> Instant {
        self.since + self.lease + LAST_MOMENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// A watch, one peer, and the time, which goes on by three seconds from look to look unless it is told otherwise.
    struct Scene {
        watch: Watch,
        peer: Peer,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            let peer = Peer::new(NodeId::now_v7(), Life::Beats(7));
            Self { watch: Watch::new(LEASE), peer, now: Instant::now() }
        }

        fn look(&mut self) -> bool {
            self.watch.look(&[self.peer], self.now, self.now) == [self.peer]
        }

        fn look_after(&mut self, wait: Duration) -> bool {
            self.now += wait;
            self.look()
        }

        /// How long it takes until the peer is dead if all goes well.
        fn dies_after(&mut self) -> Duration {
            let start = self.now;
            loop {
                let next = self.watch.next().unwrap().min(self.now + secs(3));
                if self.look_after(next - self.now) {
                    return self.now - start;
                }
                assert!(self.now - start < secs(60), "it never dies");
            }
        }
    }

    #[test]
    fn a_node_is_dead_only_when_its_beats_stood_still_for_a_lease_under_our_eyes() {
        let mut scene = Scene::new();
        assert!(!scene.look());
        assert_eq!(scene.dies_after(), LEASE + LAST_MOMENT);
        scene.peer.life = Life::Beats(8);
        assert!(!scene.look_after(secs(1)), "it moved");
        assert_eq!(scene.dies_after(), LEASE + LAST_MOMENT);
        scene.watch.forget();
        assert!(!scene.look(), "out of touch, seen nothing");
        assert_eq!(scene.dies_after(), LEASE + LAST_MOMENT);
        scene.peer.life = Life::Dead;
        assert!(
            Scene { watch: Watch::new(LEASE), ..scene }.look(),
            "a certain death needs no wait"
        );
    }

    #[test]
    fn the_lease_runs_from_the_last_beat_and_not_from_when_it_was_seen() {
        let mut scene = Scene::new();
        scene.look();
        (scene.peer.life, scene.peer.quiet) = (Life::Beats(8), secs(2));
        assert!(!scene.look_after(secs(3)));
        assert_eq!(scene.dies_after(), LEASE + LAST_MOMENT - secs(2));
        // A clock that jumps ahead makes nobody dead: the beat is younger than the look before.
        (scene.peer.life, scene.peer.quiet) = (Life::Beats(9), secs(3600));
        assert!(!scene.look_after(secs(3)));
        assert_eq!(scene.dies_after(), LEASE + LAST_MOMENT - secs(3));
        // Nor does one of which nothing is known because we have just come.
        scene.watch.forget();
        assert!(!scene.look());
        assert_eq!(scene.dies_after(), LEASE + LAST_MOMENT);
    }

    #[test]
    fn time_in_which_we_did_not_look_is_not_held_against_anybody() {
        let mut scene = Scene::new();
        scene.look();
        assert!(!scene.look_after(secs(3)));
        assert!(!scene.look_after(secs(3600)), "we stood still, and perhaps everybody did");
        assert_eq!(scene.dies_after(), LEASE + LAST_MOMENT - secs(3) - LEASE / UNSEEN_PARTS);
        // Nor is it spared one whom we have not known before.
        scene.peer.node = NodeId::now_v7();
        assert!(!scene.look_after(secs(3600)));
        assert_eq!(scene.dies_after(), LEASE + LAST_MOMENT);
        // An answer that took long was given nobody knows when.
        let mut scene = Scene::new();
        scene.look();
        let asked = scene.now + secs(1);
        scene.now = asked + secs(24);
        assert!(scene.watch.look(&[scene.peer], asked, scene.now).is_empty());
        assert_eq!(scene.dies_after(), LEASE + LAST_MOMENT - LEASE / UNSEEN_PARTS);
    }

    #[test]
    fn one_that_lives_again_has_a_whole_lease_whatever_it_counted_before() {
        let mut scene = Scene::new();
        scene.look();
        scene.peer.life = Life::Dead;
        assert!(scene.look_after(secs(3)));
        scene.peer.life = Life::Beats(7);
        assert!(!scene.look_after(secs(3)), "it beat as often as before it was given up");
        assert_eq!(scene.dies_after(), LEASE + LAST_MOMENT);
    }

    #[test]
    fn a_node_is_dead_by_its_own_lease() {
        let mut scene = Scene::new();
        scene.peer.lease = Some(secs(40));
        scene.look();
        assert_eq!(scene.dies_after(), secs(40) + LAST_MOMENT);
    }
}
