//! What the storage does, with or without a planted bug: the real memory storage, one call at a time.

use std::time::SystemTime;

use evertask::{
    Keep, StorageError, TaskId, TaskInfo,
    storage::{
        Beat, Cancel, Claim, Claimed, Clock, Enqueued, Held, Inspect, Lost, Memory, NewTask, Node,
        NodeId, Peer, Pruned, Revive, ScheduleChange, ScheduleChanged, Settled, Settlement,
        Storage,
    },
};

use crate::{bugs::Bug, world::at_once};

type Answer<T> = Result<T, StorageError>;

pub(crate) struct Truth {
    pub(crate) memory: Memory,
    clock: Clock,
    pub(crate) bug: Option<Bug>,
}

impl Truth {
    pub(crate) fn new(memory: Memory, clock: Clock, bug: Option<Bug>) -> Self {
        Self { memory, clock, bug }
    }

    pub(crate) fn clock(&self) -> SystemTime {
        self.clock.now()
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    pub(crate) fn task(&self, id: TaskId) -> Option<TaskInfo> {
        at_once(self.memory.task(id)).expect("memory does not fail")
    }

    pub(crate) fn join(&self, node: Node) -> Answer<()> {
        at_once(self.memory.join(node))
    }

    pub(crate) fn enqueue(&self, tasks: Vec<NewTask>) -> Answer<Vec<Enqueued>> {
        at_once(self.memory.enqueue(tasks))
    }

    pub(crate) fn claim(&self, claim: Claim) -> Answer<Claimed> {
        at_once(self.memory.claim(claim))
    }

    pub(crate) fn settle(&self, mut settlement: Settlement) -> Answer<Settled> {
        if self.has(Bug::NoFence)
            && let Some(task) = self.task(settlement.id)
        {
            settlement.lease = task.lease;
        }
        let settled = at_once(self.memory.settle(vec![settlement]))?;
        Ok(settled.into_iter().next().expect("one answer for one settlement"))
    }

    pub(crate) fn renew(&self, beat: Beat) -> Answer<Vec<Held>> {
        at_once(self.memory.renew(beat))
    }

    pub(crate) fn peers(&self, node: NodeId) -> Answer<Vec<Peer>> {
        let mut peers = at_once(self.memory.peers(node))?;
        // As a database would have them; memory has them in no order.
        peers.sort_by_key(|peer| peer.node);
        Ok(peers)
    }

    pub(crate) fn seize(&self, from: NodeId, by: NodeId, limit: usize) -> Answer<Vec<Lost>> {
        at_once(self.memory.seize(from, by, limit))
    }

    pub(crate) fn cancel(&self, id: TaskId, keep: Keep) -> Answer<Cancel> {
        at_once(self.memory.cancel(id, keep))
    }

    pub(crate) fn revive(&self, id: TaskId) -> Answer<Revive> {
        at_once(self.memory.revive(id))
    }

    pub(crate) fn prune(&self, limit: usize) -> Answer<Pruned> {
        at_once(self.memory.prune(limit))
    }

    pub(crate) fn change_schedules(
        &self,
        changes: Vec<ScheduleChange>,
    ) -> Answer<Vec<ScheduleChanged>> {
        at_once(self.memory.change_schedules(changes))
    }

    pub(crate) fn leave(&self, node: NodeId) -> Answer<()> {
        at_once(self.memory.leave(node))
    }
}
