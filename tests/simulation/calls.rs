//! The calls of a storage as they arrive: done by the truth, then held against the model.

use std::{sync::Arc, time::Duration};

use evertask::{
    Cancel, Keep, StorageError, TaskId, TaskState,
    storage::{
        Beat, Claim, Claimed, Dispatched, Effect, Enqueued, Held, Lost, Memory, NewTask, Node,
        NodeId, Peer, Pruned, Reply, Revive, ScheduleChange, ScheduleChanged, Settled, Settlement,
    },
};
use tokio::time::{Instant, sleep};

use crate::{
    model::{By, number},
    plan::EFFECTS,
    rules::{Broken, Rule},
    seat::Seat,
    world::{Inner, World, at_once},
};

type Answer<T> = Result<T, StorageError>;

/// How long a handler may take to end once its node knows that it has to: the grace, and a few steps.
const STOPPED_WITHIN: Duration = Duration::from_millis(1_600);

/// What is told to the nodes after a commit.
#[derive(Debug, Clone, Copy)]
enum Ring {
    Work(Duration),
    Orders,
    Peers,
    Schedules,
}

impl World {
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Memory) -> Reply<'_, T>) -> Answer<T> {
        at_once(read(&self.truth.memory))
    }

    /// Holds what a task is now against what it was; tells the nodes that there may be work.
    fn see(
        self: &Self,
        inner: &mut Inner,
        seat: Option<&Arc<Seat>>,
        id: TaskId,
        by: By<'_>,
    ) -> Result<(), Broken> {
        let new = self.truth.task(id);
        let clock = self.truth.clock();
        let retries = new.as_ref().map_or(10, |info| {
            let number = number(info);
            self.plan
                .tasks
                .iter()
                .find(|task| task.number == number)
                .map_or(10, |task| task.retries)
        });
        let place = seat.map(|seat| seat.place);
        let due_in = new
            .as_ref()
            .filter(|info| info.state == TaskState::Pending)
            .map(|info| info.due.duration_since(clock).unwrap_or_default());
        let text = inner.model.changed(id, new, by, clock, retries);
        let text = text.map_err(|broken| Broken { place, ..broken })?;
        if let Some(text) = text {
            inner.history.say(self.now(), place, inner.model.n(id), text);
            if let Some(due_in) = due_in {
                self.ring(inner, seat, Ring::Work(due_in));
            }
        }
        Ok(())
    }

    /// Tells the node that asked at once, and the others a little later, or never.
    fn ring(&self, inner: &mut Inner, seat: Option<&Arc<Seat>>, ring: Ring) {
        let live = inner.places.iter().flatten().cloned().collect::<Vec<_>>();
        for other in live {
            if seat.is_some_and(|seat| Arc::ptr_eq(seat, &other)) {
                sound(&other, ring);
                continue;
            }
            let lost = !inner.peace && inner.rng.u8(0..40) == 0;
            let late = Duration::from_millis(inner.rng.u64(0..20));
            if !lost && other.hears() {
                tokio::spawn(async move {
                    sleep(late).await;
                    if other.hears() {
                        sound(&other, ring);
                    }
                });
            }
        }
    }

    pub(crate) fn join(&self, seat: &Arc<Seat>, node: Node) -> Answer<()> {
        let id = node.id;
        self.look(|inner| {
            inner.nodes.insert(id, Arc::clone(seat));
            let mut inside = seat.inside.lock().unwrap();
            (inside.node, inside.left) = (Some(id), false);
            inside.beat.get_or_insert(Instant::now());
        });
        self.truth.join(node)
    }

    pub(crate) fn enqueue(&self, seat: &Arc<Seat>, tasks: Vec<NewTask>) -> Answer<Vec<Enqueued>> {
        let enqueued = self.truth.enqueue(tasks.clone())?;
        self.with(|inner| {
            for Enqueued { id, .. } in &enqueued {
                self.see(inner, Some(seat), *id, By::Enqueue)?;
            }
            Ok(())
        });
        Ok(enqueued)
    }

    pub(crate) fn claim(&self, seat: &Arc<Seat>, claim: Claim) -> Answer<Claimed> {
        let claimed = self.truth.claim(claim)?;
        self.with(|inner| {
            for ended in &claimed.expired {
                self.see(inner, Some(seat), ended.id, By::Claim)?;
            }
            for task in &claimed.tasks {
                self.see(inner, Some(seat), task.id, By::Claim)?;
            }
            Ok(())
        });
        Ok(claimed)
    }

    pub(crate) fn settle(&self, seat: &Arc<Seat>, batch: Vec<Settlement>) -> Answer<Vec<Settled>> {
        batch.into_iter().map(|settlement| self.settle_one(seat, settlement)).collect()
    }

    fn settle_one(&self, seat: &Arc<Seat>, settlement: Settlement) -> Answer<Settled> {
        let settled = self.truth.settle(settlement.clone())?;
        self.with(|inner| {
            self.see(inner, Some(seat), settlement.id, By::Settle(&settlement))?;
            for effect in &settlement.effects {
                let Effect::Enqueue(task) = effect else { continue };
                self.see(inner, Some(seat), task.id, By::Effect)?;
            }
            Ok(())
        });
        Ok(settled)
    }

    pub(crate) fn renew(&self, seat: &Arc<Seat>, beat: Beat) -> Answer<Vec<Held>> {
        let held = self.truth.renew(beat)?;
        let mut inside = seat.inside.lock().unwrap();
        (inside.beat, inside.left) = (Some(Instant::now()), false);
        drop(inside);
        self.with(|inner| {
            for held in &held {
                self.see(inner, Some(seat), held.id, By::Renew)?;
            }
            Ok(())
        });
        Ok(held)
    }

    pub(crate) fn peers(&self, seat: &Arc<Seat>, node: NodeId) -> Answer<Vec<Peer>> {
        let peers = self.truth.peers(node)?;
        let dead = self.look(|inner| {
            let is_dead = |node: &NodeId| {
                let Some(other) = inner.nodes.get(node) else { return true };
                let inside = other.inside.lock().unwrap();
                inside.left || inside.beat.is_none_or(|beat| beat.elapsed() >= self.plan.lease)
            };
            peers.iter().map(|peer| peer.node).filter(is_dead).collect()
        });
        seat.inside.lock().unwrap().dead = dead;
        Ok(peers)
    }

    pub(crate) fn seize(
        &self,
        seat: &Arc<Seat>,
        from: NodeId,
        by: NodeId,
        limit: usize,
    ) -> Answer<Vec<Lost>> {
        let lost = self.truth.seize(from, by, limit)?;
        self.with(|inner| {
            let place = inner.nodes.get(&from).map(|seat| seat.place);
            if !lost.is_empty() && !seat.inside.lock().unwrap().dead.contains(&from) {
                let task = lost.first().and_then(|lost| inner.model.n(lost.id));
                let how = format!("node {} takes from node {place:?}, which lives", seat.place);
                return Err(Broken { rule: Rule::OnlyTheDeadAreRobbed, how, task, place });
            }
            for lost in &lost {
                self.see(inner, Some(seat), lost.id, By::Seize)?;
                if let Some(tale) = inner.model.tales.get_mut(&lost.id) {
                    tale.losses += u32::from(lost.started);
                }
            }
            Ok(())
        });
        Ok(lost)
    }

    pub(crate) fn cancel(&self, seat: &Arc<Seat>, id: TaskId, keep: Keep) -> Answer<Cancel> {
        let cancel = self.truth.cancel(id, keep)?;
        self.with(|inner| {
            self.see(inner, Some(seat), id, By::Cancel)?;
            let task = inner.model.n(id);
            inner.history.say(self.now(), Some(seat.place), task, format!("cancel: {cancel:?}"));
            if let (Cancel::Asked, Some(tale)) = (cancel, inner.model.tales.get_mut(&id)) {
                tale.cancelled = true;
            }
            self.ring(inner, Some(seat), Ring::Orders);
            Ok(())
        });
        Ok(cancel)
    }

    pub(crate) fn revive(&self, seat: &Arc<Seat>, id: TaskId) -> Answer<Revive> {
        let revived = self.truth.revive(id)?;
        self.with(|inner| {
            let task = inner.model.n(id);
            inner.history.say(self.now(), Some(seat.place), task, format!("revive: {revived:?}"));
            self.see(inner, Some(seat), id, By::Revive)
        });
        Ok(revived)
    }

    pub(crate) fn prune(&self, seat: &Arc<Seat>, limit: usize) -> Answer<Pruned> {
        let pruned = self.truth.prune(limit)?;
        self.with(|inner| {
            let ids: Vec<TaskId> = inner.model.tales.keys().copied().collect();
            ids.into_iter().try_for_each(|id| self.see(inner, Some(seat), id, By::Prune))
        });
        Ok(pruned)
    }

    pub(crate) fn change_schedules(
        &self,
        seat: &Arc<Seat>,
        changes: Vec<ScheduleChange>,
    ) -> Answer<Vec<ScheduleChanged>> {
        let changed = self.truth.change_schedules(changes)?;
        self.with(|inner| {
            for changed in &changed {
                let ScheduleChanged::Done(enqueued) = changed else { continue };
                for Enqueued { id, how } in enqueued {
                    if *how != Dispatched::Existing {
                        self.see(inner, Some(seat), *id, By::Schedule)?;
                    }
                }
            }
            self.ring(inner, Some(seat), Ring::Schedules);
            Ok(())
        });
        Ok(changed)
    }

    pub(crate) fn leave(&self, seat: &Arc<Seat>, node: NodeId) -> Answer<()> {
        self.truth.leave(node)?;
        self.with(|inner| {
            seat.inside.lock().unwrap().left = true;
            inner.history.say(self.now(), Some(seat.place), None, "has left".into());
            self.ring(inner, Some(seat), Ring::Peers);
            Ok(())
        });
        Ok(())
    }

    /// A node has heard what it holds: what it runs besides has to end, and what is to be cancelled.
    pub(crate) fn told(&self, seat: &Arc<Seat>, asked: Instant, held: &[Held]) {
        let asked = self.now().saturating_sub(asked.elapsed());
        self.look(|inner| {
            let (index, by) = (self.index(inner, seat), self.now() + STOPPED_WITHIN);
            let here = inner.model.runs.iter_mut();
            for ((id, lease), run) in here.filter(|(_, run)| run.seat == index && run.end.is_none())
            {
                let stays = |it: &Held| it.id == *id && it.lease == *lease && !it.cancel;
                if run.begin < asked && !held.iter().any(stays) {
                    run.must_end.get_or_insert(by);
                }
            }
        });
    }

    /// What only a look at everything can show.
    pub(crate) fn check(&self) {
        self.with(|inner| {
            let ids: Vec<TaskId> = inner.model.tales.keys().copied().collect();
            for id in ids {
                self.see(inner, None, id, By::Nobody)?;
            }
            let now = self.now();
            for ((id, lease), run) in &inner.model.runs {
                let lives = !inner.seats[run.seat].is_dead();
                if run.end.is_none() && lives && run.must_end.is_some_and(|at| at < now) {
                    let how = format!("the run of lease {lease} goes on");
                    let (task, place) = (inner.model.n(*id), Some(run.place));
                    return Err(Broken { rule: Rule::StopsWhenTold, how, task, place });
                }
            }
            inner.model.overlaps()
        });
    }

    /// After the last one: what can be said of all tasks only now.
    pub(crate) fn conclude(&self) {
        self.check();
        self.with(|inner| {
            for tale in inner.model.tales.values() {
                let broken =
                    |rule, how: String| Broken { rule, how, task: Some(tale.n), place: None };
                let Some(info) = &tale.info else { continue };
                if info.state == TaskState::Completed {
                    let output = info.output.as_ref().and_then(|it| it.read::<u64>().ok());
                    if output != Some(info.lease) {
                        let how = format!("{output:?} is not of the run of lease {}", info.lease);
                        return Err(broken(Rule::OutputOfItsRun, how));
                    }
                }
                let number = number(info);
                if number < EFFECTS && tale.acknowledged {
                    continue;
                }
            }
            Ok(())
        });
    }
}

fn sound(seat: &Seat, ring: Ring) {
    match ring {
        Ring::Work(due_in) => seat.bell.work(due_in),
        Ring::Orders => seat.bell.orders(),
        Ring::Peers => seat.bell.peers(),
        Ring::Schedules => seat.bell.schedules(),
    }
}
