//! What the storage does, with or without a planted bug: the real memory storage, one call at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use evertask::{
    Body, Cancel, Keep, StorageError, StorageErrorKind, TaskId, TaskInfo, TaskState,
    storage::{
        Beat, Claim, Claimed, ClaimedTask, Claims, Clock, Dispatched, Due, Effect, Enqueued, Held,
        Inspect, Known, Life, Lost, Memory, NewTask, Node, NodeId, Page, Peer, Pruned, Revive,
        Settled, Settlement, Storage, TaskFilter,
    },
    verdict::Verdict,
};

use crate::{bugs::Bug, seat::Seat, world::at_once};

/// One in so many renewals is told of all that a node holds, whatever it knows of its claims.
const TOLD_ALL: u32 = 4;

pub(crate) type Answer<T> = Result<T, StorageError>;

pub(crate) struct Truth {
    pub(crate) memory: Memory,
    clock: Clock,
    /// By how many seconds the clock is ahead for the moment.
    ahead: Arc<AtomicU64>,
    bug: Option<Bug>,
    astray: Mutex<Astray>,
}

/// What the planted bugs remember.
#[derive(Debug, Default)]
struct Astray {
    /// Which attempt each lease was.
    attempts: BTreeMap<(TaskId, u64), u32>,
    settled: BTreeSet<(TaskId, u64)>,
    /// What was stored lately, and from where.
    recent: Vec<(SystemTime, usize, TaskId)>,
    cancels: BTreeSet<TaskId>,
    /// Claims under other numbers than their own.
    claims: u64,
    keys: Vec<(SystemTime, Arc<str>, String)>,
    peers: Option<(SystemTime, Vec<Peer>)>,
    output: Option<Body>,
    given: Option<(NodeId, ClaimedTask)>,
    enqueued: u32,
    ids: BTreeSet<TaskId>,
    settlements: u32,
    /// When each node last saw what is due.
    looks: BTreeMap<NodeId, SystemTime>,
    renewals: BTreeMap<NodeId, u32>,
    /// By how much leases are told too low.
    anew: BTreeMap<TaskId, u64>,
}

impl Truth {
    pub(crate) fn new(clock: &Clock, bug: Option<Bug>) -> Self {
        let ahead = Arc::new(AtomicU64::new(0));
        let (clock, by) = (clock.clone(), Arc::clone(&ahead));
        let its = clock.clone();
        let its =
            Clock::from_fn(move || its.now() + Duration::from_secs(by.load(Ordering::SeqCst)));
        Self { memory: Memory::with_clock(its), clock, ahead, bug, astray: Mutex::default() }
    }

    pub(crate) fn clock(&self) -> SystemTime {
        self.clock.now()
    }

    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    pub(crate) fn task(&self, id: TaskId) -> Option<TaskInfo> {
        let mut task = at_once(self.memory.task(id)).expect("memory does not fail")?;
        task.lease -= self.anew(id);
        Some(task)
    }

    /// By how much the leases of a task are told too low.
    fn anew(&self, id: TaskId) -> u64 {
        if !self.has(Bug::LeaseStartsAnew) {
            return 0;
        }
        self.astray.lock().unwrap().anew.get(&id).copied().unwrap_or_default()
    }

    /// All that is stored.
    pub(crate) fn tasks(&self) -> Vec<TaskInfo> {
        let page = Page { before: None, limit: 1_000 };
        at_once(self.memory.tasks(TaskFilter::default(), page)).expect("memory does not fail")
    }

    pub(crate) fn join(&self, node: Node) -> Answer<()> {
        at_once(self.memory.join(node))
    }

    pub(crate) fn enqueue(&self, seat: &Seat, mut tasks: Vec<NewTask>) -> Answer<Vec<Enqueued>> {
        let (now, mut astray) = (self.clock(), self.astray.lock().unwrap());
        for task in &mut tasks {
            if self.has(Bug::DispatchedTwice) && !astray.ids.insert(task.id) {
                task.id = TaskId::new();
            }
            if self.has(Bug::PriorityIgnored) {
                task.priority = 0;
            }
            if self.has(Bug::ExpiryForgotten) {
                task.expires = None;
            }
            if self.has(Bug::DueNow) {
                task.due = Due::Now;
            }
            if self.has(Bug::OldPayloadStays)
                && let Some(old) = self.tasks().into_iter().find(|old| {
                    old.name == *task.name
                        && old.key.is_some()
                        && old.key == task.key
                        && old.state == TaskState::Pending
                })
            {
                task.payload = old.payload;
            }
            if self.has(Bug::ExpiresEarly) {
                task.expires = task.expires.map(|after| after / 2);
            }
            if let (true, Some(key)) = (self.has(Bug::KeyRace), &task.key) {
                let name = Arc::clone(&task.name);
                let lately = |(at, of, it): &(SystemTime, Arc<str>, String)| {
                    *of == name && it == key && now < *at + Duration::from_millis(500)
                };
                if astray.keys.iter().any(lately) {
                    task.key = None;
                } else {
                    astray.keys.push((now, name, key.clone()));
                }
            }
        }
        astray.enqueued += 1;
        if self.has(Bug::RefusesForNothing) && astray.enqueued % 8 == 0 {
            return Err(StorageError::new(StorageErrorKind::Full, "there is no room"));
        }
        if self.has(Bug::HalfOfACrowd) && tasks.len() > 1 {
            let told = |task: &NewTask| Enqueued { id: task.id, how: Dispatched::Created };
            let told = tasks.iter().map(told).collect();
            tasks.truncate(tasks.len() / 2);
            at_once(self.memory.enqueue(tasks))?;
            return Ok(told);
        }
        if self.has(Bug::AcknowledgedAndForgotten) && astray.enqueued % 8 == 0 {
            let stored = |task: NewTask| Enqueued { id: task.id, how: Dispatched::Created };
            return Ok(tasks.into_iter().map(stored).collect());
        }
        let is_stored =
            |task: &NewTask| at_once(self.memory.task(task.id)).is_ok_and(|it| it.is_some());
        let again: Vec<bool> = tasks.iter().map(is_stored).collect();
        let mut enqueued = at_once(self.memory.enqueue(tasks))?;
        for (told, again) in enqueued.iter_mut().zip(again) {
            if told.how == Dispatched::Replaced && self.has(Bug::ReplacedIsToldAsCreated) {
                told.how = Dispatched::Created;
            }
            if again && self.has(Bug::SaidAgainIsToldAsReplaced) {
                told.how = Dispatched::Replaced;
            }
        }
        astray.recent.extend(enqueued.iter().map(|it| (now, seat.place, it.id)));
        Ok(enqueued)
    }

    /// A process has died.
    pub(crate) fn died(&self, place: usize) {
        if !self.has(Bug::AcknowledgedBeforeItIsStored) {
            return;
        }
        let now = self.clock();
        for (at, of, id) in std::mem::take(&mut self.astray.lock().unwrap().recent) {
            let pending = self.task(id).is_some_and(|task| task.state == TaskState::Pending);
            if pending && of == place && now < at + Duration::from_secs(2) {
                let _done = at_once(self.memory.cancel(id, Keep::No));
            }
        }
    }

    pub(crate) fn claim(&self, mut claim: Claim) -> Answer<Claimed> {
        if self.has(Bug::LeaseStartsAnew) {
            let mut claimed = at_once(self.memory.claim(claim))?;
            claimed.tasks.iter_mut().for_each(|task| task.lease -= self.anew(task.id));
            return Ok(claimed);
        }
        let mut astray = self.astray.lock().unwrap();
        if self.has(Bug::LooksRarely) {
            let last = astray.looks.get(&claim.node).copied();
            if last.is_some_and(|at| self.clock() < at + Duration::from_secs(200)) {
                return Ok(Claimed::default());
            }
            astray.looks.insert(claim.node, self.clock());
        }
        if self.has(Bug::MoreThanAsked) {
            claim.slots += 2;
            claim.queues.iter_mut().for_each(|room| room.slots += 2);
        }
        if self.has(Bug::MoreThanAskedOfAQueue) {
            claim.queues.iter_mut().for_each(|room| room.slots = claim.slots);
        }
        let node = claim.node;
        if self.has(Bug::UnknownHandlersToo) {
            let names = ["alpha", "beta", "gamma", "gamma_old"];
            claim.handlers = names.map(|name| Known { name: name.into(), version: 1 }).into();
        }
        if self.has(Bug::UnknownVersionsToo) {
            let newest = |known: &Known| Known { version: 9, ..known.clone() };
            claim.handlers = claim.handlers.iter().map(newest).collect();
        }
        if self.has(Bug::LostClaimIsKept) {
            astray.claims += 1;
            claim.id = 1_000_000 + astray.claims;
        }
        let early = if self.has(Bug::ClaimedEarly) { 2 } else { 0 };
        self.ahead.store(early, Ordering::SeqCst);
        let mut claimed = at_once(self.memory.claim(claim))?;
        self.ahead.store(0, Ordering::SeqCst);
        for task in &claimed.tasks {
            astray.attempts.insert((task.id, task.lease), task.attempt);
        }
        if self.has(Bug::TimeoutForgotten) {
            claimed.tasks.iter_mut().for_each(|task| task.timeout = Some(None));
        }
        if let (true, [one, two, ..]) = (self.has(Bug::PayloadsMixedUp), &mut claimed.tasks[..]) {
            std::mem::swap(&mut one.payload, &mut two.payload);
        }
        if self.has(Bug::GivenTwice) {
            let given = astray.given.take().filter(|(other, _)| *other != node);
            let first = claimed.tasks.first().map(|task| (node, task.clone()));
            let runs = |task: &ClaimedTask| {
                let now = self.task(task.id);
                now.is_some_and(|it| it.state == TaskState::Running && it.lease == task.lease)
            };
            claimed.tasks.extend(given.map(|(_, task)| task).filter(runs));
            astray.given = first;
        }
        Ok(claimed)
    }

    pub(crate) fn settle(&self, mut settlement: Settlement) -> Answer<Settled> {
        if self.has(Bug::LeaseStartsAnew) {
            settlement.lease += self.anew(settlement.id);
            return Ok(at_once(self.memory.settle(vec![settlement]))?.remove(0));
        }
        let mut astray = self.astray.lock().unwrap();
        astray.settlements += 1;
        if self.has(Bug::SettledInWordOnly) && astray.settlements.is_multiple_of(10) {
            return Ok(Settled::Applied(TaskState::Completed));
        }
        let lease = (settlement.id, settlement.lease);
        let before = self.task(settlement.id);
        let running = before.as_ref().filter(|task| task.state == TaskState::Running);
        let again = astray.settled.contains(&lease);
        if let Some(task) = running {
            let of_attempt = astray.attempts.get(&lease) == Some(&task.attempt);
            if self.has(Bug::NoFence) || self.has(Bug::AttemptIsTheFence) && of_attempt {
                settlement.lease = task.lease;
            }
            if task.lease == settlement.lease && astray.cancels.remove(&settlement.id) {
                at_once(self.memory.cancel(settlement.id, Keep::Forever))?;
            }
        }
        match settlement.verdict {
            Verdict::Retry { after } if self.has(Bug::RetrySpendsNothing) => {
                settlement.verdict = Verdict::Snooze { after };
            }
            Verdict::Fail if self.has(Bug::LimitForgotten) => {
                settlement.verdict = Verdict::Retry { after: Duration::from_secs(1) };
            }
            Verdict::Retry { after } if self.has(Bug::DelayFromItsPlace) => {
                let due = before.as_ref().map_or(SystemTime::UNIX_EPOCH, |task| task.due);
                let late = self.clock().duration_since(due).unwrap_or_default();
                settlement.verdict = Verdict::Retry { after: after.saturating_sub(late) };
            }
            Verdict::Snooze { .. } if self.has(Bug::SnoozeIgnored) => {
                settlement.verdict = Verdict::Snooze { after: Duration::ZERO };
            }
            Verdict::Interrupt if self.has(Bug::InterruptionSpends) => {
                settlement.verdict = Verdict::Retry { after: Duration::ZERO };
            }
            Verdict::Interrupt | Verdict::Release if self.has(Bug::PlaceLost) => {
                settlement.verdict = Verdict::Snooze { after: Duration::from_secs(5) };
            }
            _ => {}
        }
        if let (true, Some(output)) = (self.has(Bug::OutputOfAnother), &mut settlement.output)
            && let Some(before) = astray.output.replace(output.clone())
        {
            *output = before;
        }
        if again && self.has(Bug::SettledAgainIsRefused) {
            return Ok(Settled::Refused);
        }
        if self.has(Bug::EffectsLost) {
            settlement.effects.clear();
        }
        if self.has(Bug::LostOutputIsNotTold) {
            settlement.output_error = None;
        }
        let effects = settlement.effects.clone();
        let settled = at_once(self.memory.settle(vec![settlement]))?;
        let settled = settled.into_iter().next().expect("one answer for one settlement");
        if let (true, Settled::Applied(_)) = (again, &settled) {
            if self.has(Bug::SettledTwice) {
                at_once(self.memory.revive(lease.0))?;
            }
            for effect in effects.into_iter().filter(|_| self.has(Bug::EffectsTwice)) {
                let Effect::Enqueue(mut task) = effect else { continue };
                task.id = TaskId::new();
                at_once(self.memory.enqueue(vec![*task]))?;
            }
        }
        astray.settled.insert(lease);
        Ok(settled)
    }

    pub(crate) fn renew(&self, seat: &Seat, beat: Beat) -> Answer<Vec<Held>> {
        let (node, claims) = (beat.node, beat.claims.clone());
        let mut held = at_once(self.memory.renew(beat))?;
        self.leave_out(node, claims, &mut held);
        assert!(!self.has(Bug::Panics) || held.len() < 2, "it holds more than one");
        held.iter_mut().for_each(|held| held.lease -= self.anew(held.id));
        let astray = self.astray.lock().unwrap();
        let inside = seat.inside.lock().unwrap();
        for held in &mut held {
            held.cancel |= astray.cancels.contains(&held.id);
            held.cancel &= !self.has(Bug::CancelNotTold);
        }
        if self.has(Bug::LostClaimIsKept) {
            held.retain(|held| inside.leases.get(&held.id) == Some(&held.lease));
        }
        if self.has(Bug::LossNotTold) {
            let stays = |(id, lease): &&(TaskId, u64)| {
                held.iter().any(|it| it.id == *id && it.lease == *lease)
            };
            let gone: Vec<_> = inside.running.iter().filter(|it| !stays(it)).copied().collect();
            held.extend(gone.into_iter().map(|(id, lease)| Held {
                id,
                lease,
                claim: 0,
                cancel: false,
            }));
        }
        Ok(held)
    }

    /// A storage may leave out for a while what is held by a claim that is over as far as the node knows.
    fn leave_out(&self, node: NodeId, claims: Option<Claims>, held: &mut Vec<Held>) {
        let Some(claims) = claims else { return };
        let mut astray = self.astray.lock().unwrap();
        let renewals = astray.renewals.entry(node).or_default();
        *renewals += 1;
        if !renewals.is_multiple_of(TOLD_ALL) {
            held.retain(|held| {
                held.claim == 0 || held.claim > claims.answered || claims.held.contains(&held.claim)
            });
        }
    }

    pub(crate) fn peers(&self, node: NodeId) -> Answer<Vec<Peer>> {
        let mut peers = at_once(self.memory.peers(node))?;
        // As a database would have them; memory has them in no order.
        peers.sort_by_key(|peer| peer.node);
        if self.has(Bug::DeadAreNotSeen) {
            peers.iter_mut().for_each(|peer| peer.life = Life::Alive);
        }
        if self.has(Bug::GhostsBeat) {
            let since = self.clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            for peer in &mut peers {
                if let Life::Beats(beats) = &mut peer.life {
                    *beats += since.as_secs() / 11;
                }
            }
        }
        if self.has(Bug::StaleBeats) {
            let (now, mut astray) = (self.clock(), self.astray.lock().unwrap());
            match &astray.peers {
                Some((at, copy)) if now < *at + Duration::from_secs(20) => return Ok(copy.clone()),
                _ => astray.peers = Some((now, peers.clone())),
            }
        }
        Ok(peers)
    }

    pub(crate) fn seize(&self, mut from: Peer, by: NodeId, limit: usize) -> Answer<Vec<Lost>> {
        if self.has(Bug::LivingAreRobbed) || self.has(Bug::StaleBeats) {
            let peers = at_once(self.memory.peers(by))?;
            from = peers.into_iter().find(|peer| peer.node == from.node).unwrap_or(from);
        }
        let mut lost = at_once(self.memory.seize(from, by, limit))?;
        if from.node == by && self.has(Bug::LossForgotten) {
            lost.clear();
        }
        if from.node == by && self.has(Bug::LossToldAsUnbegun) {
            lost.iter_mut().for_each(|lost| lost.started = false);
        }
        lost.iter_mut().for_each(|lost| lost.lease -= self.anew(lost.id));
        let mut astray = self.astray.lock().unwrap();
        for lost in &mut lost {
            astray.attempts.insert((lost.id, lost.lease), lost.attempt);
            if self.has(Bug::CancelDiesWithItsNode) {
                astray.cancels.remove(&lost.id);
            }
            if self.has(Bug::BystandersAreBlamed) {
                (lost.alone, lost.lost_alone) = (lost.started, lost.lost_alone + 1);
            }
            if self.has(Bug::SeizedUnderTheOldLease) {
                lost.lease -= 1;
            }
        }
        Ok(lost)
    }

    pub(crate) fn cancel(&self, id: TaskId, keep: Keep) -> Answer<Cancel> {
        let running = self.task(id).is_some_and(|task| task.state == TaskState::Running);
        if running && self.has(Bug::CancelDiesWithItsNode) {
            self.astray.lock().unwrap().cancels.insert(id);
            return Ok(Cancel::Asked);
        }
        if let (true, Some(task)) = (self.has(Bug::CancelledWhileItRuns), self.task(id))
            && running
        {
            let verdict = Verdict::Cancel { reason: "cancelled".to_owned() };
            at_once(self.memory.settle(vec![Settlement::new(id, task.lease, verdict)]))?;
            return Ok(Cancel::Asked);
        }
        self.with_its_series(id);
        at_once(self.memory.cancel(id, keep))
    }

    pub(crate) fn revive(&self, id: TaskId) -> Answer<Revive> {
        let revived = at_once(self.memory.revive(id))?;
        self.for_its_series(id);
        let lease = at_once(self.memory.task(id))?.map_or(0, |task| task.lease);
        if self.has(Bug::LeaseStartsAnew) && revived == Revive::Revived {
            self.astray.lock().unwrap().anew.insert(id, lease);
        }
        Ok(revived)
    }

    pub(crate) fn prune(&self, limit: usize) -> Answer<Pruned> {
        if self.has(Bug::PruneTakesTheLiving) {
            let pending = |task: &TaskInfo| task.state == TaskState::Pending;
            if let Some(task) = self.tasks().into_iter().find(pending) {
                at_once(self.memory.cancel(task.id, Keep::No))?;
            }
        }
        at_once(self.memory.prune(limit))
    }

    pub(crate) fn leave(&self, node: NodeId) -> Answer<()> {
        at_once(self.memory.leave(node))
    }
}
