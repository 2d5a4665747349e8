//! Where a look for what nodes hold may begin, while what they held lies about as dead rows.
//!
//! What has run stays in the index over what runs until the server may clear it away, in front of what runs now: the claims of a
//! node have numbers that grow. A node knows by which of its claims it has anything, and of another one it is enough to find the
//! first thing that it holds, which is not before the first one that was found last. So nothing has to be looked through twice.
//! What such looks do not see is what came by an earlier claim whose answer was lost, and what nodes hold of which nobody knows;
//! for these all is looked through again, as often as costs a twentieth of the time. On a healthy server every look is whole.

use std::{collections::HashMap, time::Duration};

use super::bookmark::Litter;
use crate::storage::NodeId;

/// Before the first claim of a node. What it holds by none, since it took it over, is looked at apart.
pub(super) const FIRST: i64 = 1;

/// What is remembered of those who hold something.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// What the nodes of this process find on their way to what they hold.
    own: HashMap<NodeId, Litter>,
    /// The same on the way to who holds anything.
    all: Litter,
    /// The first claim by which a node was found to hold anything, or before it.
    places: HashMap<NodeId, i64>,
}

impl Holders {
    /// All that this node holds is to be looked for.
    pub(super) fn is_to_find_all_of(&self, node: NodeId) -> bool {
        self.own.get(&node).is_none_or(|litter| litter.held_for().is_none())
    }

    /// That took so long, and so much was found.
    pub(super) fn found_all_of(&mut self, node: NodeId, took: Duration, tasks: usize) {
        self.own.entry(node).or_default().looked_at_all(took, tasks);
    }

    /// Where to look who holds anything; `None` if everywhere.
    pub(super) fn places(&self) -> Option<(Vec<NodeId>, Vec<i64>)> {
        self.all.held_for()?;
        Some(self.places.iter().map(|(node, claim)| (*node, *claim)).unzip())
    }

    /// A look everywhere took so long, and so many were found.
    pub(super) fn looked_everywhere(&mut self, took: Duration, nodes: usize) {
        self.all.looked_at_all(took, nodes);
        if self.all.held_for().is_none() {
            // Nothing is littered, and nodes that are gone are not remembered for ever.
            self.places.clear();
        }
    }

    /// A node that has not left, or holds something, was found to do so by this claim first, or not to hold anything.
    pub(super) fn saw(&mut self, node: NodeId, claim: Option<i64>) {
        let place = self.places.entry(node).or_insert(FIRST);
        // By none: it has taken it over.
        *place = claim.filter(|claim| *claim >= FIRST).unwrap_or(*place);
    }

    /// It has left, and holds nothing.
    pub(super) fn is_gone(&mut self, node: NodeId) {
        self.places.remove(&node);
    }

    /// A node leaves that was here.
    pub(super) fn leaves(&mut self, node: NodeId) {
        self.own.remove(&node);
    }

    /// Somebody may have left something: the next look is everywhere.
    pub(super) fn forget(&mut self) {
        self.all.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(100);

    #[test]
    fn all_is_looked_through_until_that_has_waded_and_by_each_node_for_itself() {
        let (mut holders, [one, other]) =
            (Holders::default(), [NodeId::now_v7(), NodeId::now_v7()]);
        assert!(holders.is_to_find_all_of(one) && holders.places().is_none());
        holders.found_all_of(one, LONG, 0);
        assert!(!holders.is_to_find_all_of(one) && holders.is_to_find_all_of(other));
        holders.looked_everywhere(LONG, 0);
        assert!(holders.places().is_some());
        holders.forget();
        assert!(holders.places().is_none() && !holders.is_to_find_all_of(one));
        holders.leaves(one);
        assert!(holders.is_to_find_all_of(one));
    }

    #[test]
    fn a_look_begins_where_the_last_one_found_something_and_forgets_who_is_gone() {
        let (mut holders, node) = (Holders::default(), NodeId::now_v7());
        let place = |holders: &Holders| holders.places().unwrap().1;
        holders.looked_everywhere(LONG, 0);
        for (seen, expected) in [(None, 1), (Some(7), 7), (None, 7), (Some(0), 7), (Some(9), 9)] {
            holders.saw(node, seen);
            assert_eq!(place(&holders), [expected], "{seen:?}");
        }
        holders.is_gone(node);
        assert_eq!(place(&holders), [0; 0]);
        holders.saw(node, Some(7));
        holders.looked_everywhere(LONG, 1);
        assert_eq!(place(&holders), [7]);
        holders.looked_everywhere(Duration::ZERO, 1);
        holders.looked_everywhere(LONG, 1);
        assert_eq!(place(&holders), [0; 0], "it may have been gone for long");
    }
}
