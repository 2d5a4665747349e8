//! Nodes: who lives, who holds what, and who takes it over.

use super::{
    row::{Hold, Row},
    table::{Announced, Table},
};
use crate::{
    storage::{Beat, Held, Life, Lost, Node, NodeId, Peer},
    task::{TaskId, TaskState},
};

/// How many tasks one call takes over at most.
const SEIZE_MAX: usize = 1_000;

impl Table {
    pub(super) fn join(&mut self, node: Node, now: i64) {
        let announced = self.announced(node.id, now);
        announced.beat_at = now;
        announced.node = Some(node);
    }

    fn announced(&mut self, node: NodeId, now: i64) -> &mut Announced {
        let Self { nodes, counts_from, .. } = self;
        nodes.entry(node).or_insert_with(|| Announced::new(now, counts_from))
    }

    pub(super) fn leave(&mut self, node: NodeId) {
        self.nodes.remove(&node);
        self.rings.peers = true;
    }

    pub(super) fn renew(&mut self, beat: &Beat, now: i64) -> Vec<Held> {
        self.announced(beat.node, now).beat(now);
        for &(id, lease) in &beat.begun {
            let Some(row) = self.rows.get_mut(&id).filter(|row| row.lease == lease) else {
                continue;
            };
            // None of this is indexed.
            if let Some(hold) =
                row.hold.as_mut().filter(|hold| hold.node == beat.node && !hold.begun)
            {
                hold.begun = true;
                row.started = Some(now);
            }
        }
        let row = |(claim, id): &(u64, TaskId)| {
            let row = self.rows.get(id)?;
            Some(Held { id: *id, lease: row.lease, claim: *claim, cancel: row.rare.cancel_asked })
        };
        self.index.held.get(&beat.node).into_iter().flatten().filter_map(row).collect()
    }

    pub(super) fn peers(&self, node: NodeId) -> Vec<Peer> {
        let holders = self.index.held.keys().filter(|holder| **holder != node);
        holders
            .map(|&node| {
                let life = self.nodes.get(&node).map_or(Life::Dead, |node| Life::Beats(node.beats));
                Peer::new(node, life)
            })
            .collect()
    }

    pub(super) fn seize(&mut self, seen: Peer, by: NodeId, limit: usize, now: i64) -> Vec<Lost> {
        let from = seen.node;
        let held = self.index.held.get(&from).into_iter().flatten();
        if from == by {
            let seized = held.take_while(|(claim, _)| *claim == 0);
            let rows = seized.filter_map(|(_, id)| self.rows.get(id)).take(limit.min(SEIZE_MAX));
            return rows.map(|row| row.lost(from, false, now)).collect();
        }
        if self.nodes.get(&from).is_some_and(|node| Life::Beats(node.beats) != seen.life) {
            return Vec::new();
        }
        let begun = |row: &Row| row.hold.is_some_and(|hold| hold.begun && hold.claim != 0);
        let mut rows: Vec<&Row> = held.filter_map(|(_, id)| self.rows.get(id)).collect();
        let others_begun = rows.iter().filter(|row| begun(row)).count() > 1;
        // Suspects first: whether one was alone can only be seen while the others are still there.
        rows.sort_by_key(|row| (!begun(row), !row.counters.suspect(), row.id));
        let lost: Vec<Lost> = rows
            .into_iter()
            .take(limit.min(SEIZE_MAX))
            .map(|row| {
                let alone = begun(row) && row.counters.suspect() && !others_begun;
                Lost { lease: row.lease + 1, ..row.lost(from, alone, now) }
            })
            .collect();
        for lost in &lost {
            self.update(lost.id, now, |row| {
                debug_assert_eq!(row.state, TaskState::Running);
                row.lease = lost.lease;
                row.hold = Some(Hold { node: by, claim: 0, begun: lost.started });
            });
        }
        lost
    }
}
