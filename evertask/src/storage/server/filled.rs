//! Which lanes hold anything, where there are so many that looking at the head of each would cost more than asking.

use std::collections::HashSet;

/// So many lanes are looked at without asking before which of them are empty.
pub(crate) const CROWDED: usize = 64;

/// What was asked: the lanes in which something waited at that moment. What is stored in another one after it is rung for.
#[derive(Debug)]
pub(crate) struct Filled {
    lanes: HashSet<i64>,
    /// The highest lane that was known then: of those above nothing was asked.
    last: i64,
}

impl Filled {
    pub(crate) fn new(lanes: impl IntoIterator<Item = i64>, last: i64) -> Self {
        Self { lanes: lanes.into_iter().collect(), last }
    }

    /// The lane may hold something.
    pub(crate) fn may_hold(&self, lane: i64) -> bool {
        lane > self.last || self.lanes.contains(&lane)
    }
}
