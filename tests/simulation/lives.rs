//! The calls of a storage by which nodes live: to come and go, to give signs of life, to take over what the dead have left.

use std::{sync::Arc, time::Duration};

use evertask::{
    TaskId,
    storage::{Beat, Held, Lost, Node, NodeId, Peer},
};
use tokio::time::Instant;

use crate::{
    bells::Ring,
    heart,
    model::By,
    rules::{Broken, Rule},
    seat::Seat,
    truth::Answer,
    world::World,
};

impl World {
    pub(crate) fn join(&self, seat: &Arc<Seat>, node: Node) -> Answer<()> {
        let id = node.id;
        self.look(|inner| {
            inner.nodes.insert(id, Arc::clone(seat));
            let mut inside = seat.inside.lock().unwrap();
            let first = inside.node.replace(id).is_none();
            inside.left = false;
            if first {
                inside.beats(self.plan.lease);
                if let Some(world) = seat.world.upgrade() {
                    tokio::spawn(heart::beat(world, Arc::clone(seat)));
                }
            }
        });
        self.truth.join(node)
    }

    pub(crate) fn renew(&self, seat: &Arc<Seat>, beat: Beat, sent: Duration) -> Answer<Vec<Held>> {
        let begun = beat.begun.clone();
        let held = self.truth.renew(seat, beat)?;
        self.with(|inner| {
            for held in &held {
                self.see(inner, Some(seat), held.id, By::Renew)?;
            }
            let index = self.index(inner, seat);
            for (id, lease) in begun {
                let Some(tale) = inner.model.tales.get_mut(&id) else { continue };
                let current = tale.info.as_ref().is_some_and(|info| info.lease == lease);
                tale.marked |= current && tale.held.is_some_and(|held| held.by == index);
            }
            let mut inside = seat.inside.lock().unwrap();
            inside.renewed = inside.renewed.max(Some(sent));
            inside.beats(self.plan.lease);
            let over = |(id, lease): &&(TaskId, u64)| {
                inner.model.tales.get(id).is_none_or(|tale| {
                    let info = tale.info.as_ref();
                    tale.cancelled || info.is_none_or(|info| info.lease != *lease)
                })
            };
            inside.to_end = inside.running.iter().filter(over).copied().collect();
            Ok(())
        });
        Ok(held)
    }

    pub(crate) fn peers(&self, seat: &Arc<Seat>, node: NodeId) -> Answer<Vec<Peer>> {
        let peers = self.truth.peers(node)?;
        let now = Instant::now();
        let (first, unseen) = {
            let mut inside = seat.inside.lock().unwrap();
            let (first, last) = inside.looked.unwrap_or((now, now));
            inside.looked = Some((first, now));
            // Of the time between two answers no more than a quarter of a lease counts, but for what they are on their way.
            let heard = inside.heard.take().filter(|at| *at > last).unwrap_or(last);
            let counts = [heard - last, now - heard].map(|it| it.min(self.plan.lease / 4));
            let counts = counts[0] + counts[1] + Duration::from_secs(1);
            let beyond = (now - last).saturating_sub(counts);
            inside.unseen.push((now, beyond));
            (first, inside.unseen.clone())
        };
        let dead = self.look(|inner| {
            let is_dead = |node: &NodeId| {
                let Some(other) = inner.nodes.get(node) else { return true };
                let inside = other.inside.lock().unwrap();
                let Some(beat) = inside.beat.filter(|_| !inside.left) else { return true };
                let after = unseen.iter().filter(|(end, _)| *end > beat);
                let unseen: Duration = after.map(|(end, lasted)| *lasted.min(&(*end - beat))).sum();
                now - beat.max(first) >= self.plan.lease + unseen
            };
            peers.iter().map(|peer| peer.node).filter(is_dead).collect()
        });
        seat.inside.lock().unwrap().dead = dead;
        Ok(peers)
    }

    pub(crate) fn seize(
        &self,
        seat: &Arc<Seat>,
        seen: Peer,
        by: NodeId,
        limit: usize,
    ) -> Answer<Vec<Lost>> {
        let from = seen.node;
        // What runs there by rights, before it is taken; what has only just begun its node may not have said.
        let there = self.look(|inner| {
            let robbed = inner.nodes.get(&from);
            let said = robbed.and_then(|seat| seat.inside.lock().unwrap().renewed);
            let robbed = robbed.map(|seat| self.index(inner, seat));
            let open = inner.model.runs.iter().filter(|(_, run)| {
                let long = Some(run.begin + Duration::from_secs(1)) < said;
                Some(run.seat) == robbed && run.end.is_none() && long
            });
            let current = |(id, lease): &(TaskId, u64)| {
                let info = inner.model.tales.get(id).and_then(|tale| tale.info.as_ref());
                info.is_some_and(|info| info.lease == *lease)
            };
            open.map(|(run, _)| *run).filter(current).map(|(id, _)| id).collect::<Vec<_>>()
        });
        // A call that was long on its way may find that the dead live again.
        let lives_again = self.look(|inner| {
            let robbed = inner.nodes.get(&from).map(|seat| seat.inside.lock().unwrap());
            robbed.is_some_and(|it| {
                !it.left && it.beat.is_some_and(|at| at.elapsed() < self.plan.lease)
            })
        });
        let lost = self.truth.seize(seen, by, limit)?;
        self.with(|inner| {
            let place = inner.nodes.get(&from).map(|seat| seat.place);
            let robs = from != by && !lost.is_empty();
            if robs && (lives_again || !seat.inside.lock().unwrap().dead.contains(&from)) {
                let task = lost.first().and_then(|lost| inner.model.n(lost.id));
                let how = format!("node {} takes from node {place:?}, which lives", seat.place);
                return Err(Broken { rule: Rule::OnlyTheDeadAreRobbed, how, task, place });
            }
            for lost in &lost {
                self.see(inner, Some(seat), lost.id, By::Seize)?;
                let Some(tale) = inner.model.tales.get_mut(&lost.id) else { continue };
                if lost.started != tale.marked {
                    let (task, place) = (Some(tale.n), Some(seat.place));
                    let how = format!("begun: {}, and it is told {}", tale.marked, lost.started);
                    return Err(Broken { rule: Rule::LossIsTold, how, task, place });
                }
                // It ran where it was lost first. Of that nobody knows any more whether it was alone there.
                let alone = tale.loss.is_none() && there.iter().all(|id| *id == lost.id);
                tale.loss = Some((lost.started, alone));
            }
            Ok(())
        });
        Ok(lost)
    }

    pub(crate) fn leave(&self, seat: &Arc<Seat>, node: NodeId) -> Answer<()> {
        self.truth.leave(node)?;
        self.with(|inner| {
            seat.inside.lock().unwrap().left = true;
            inner.history.say(self.now(), Some(seat.place), None, "has left".into());
            inner.rings.push(Ring::Peers);
            Ok(())
        });
        Ok(())
    }
}
