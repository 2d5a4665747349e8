//! Where the rows are of tasks that this process has claimed, so that a completion need not look for its row by the id.

use std::collections::HashMap;

use crate::task::TaskId;

/// So many are remembered at most: more than the nodes of a process hold. What is forgotten is looked for.
const KEPT: usize = 1 << 16;

/// A hint and no more: whoever goes by it names the id and the lease as well.
#[derive(Debug, Default)]
pub(super) struct Rows(HashMap<TaskId, i64>);

impl Rows {
    /// A task was claimed that lies there.
    pub(super) fn note(&mut self, id: TaskId, seq: i64) {
        if self.0.len() >= KEPT {
            // Of what was taken from here by others nobody tells; so now and then it begins anew.
            self.0.clear();
        }
        self.0.insert(id, seq);
    }

    /// Where it lies, for the last time.
    pub(super) fn take(&mut self, id: TaskId) -> Option<i64> {
        self.0.remove(&id)
    }
}
