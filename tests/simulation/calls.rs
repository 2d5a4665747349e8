//! The calls of a storage as they arrive: done by the truth, then held against the model.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::SystemTime};

use evertask::{
    Cancel, Keep, StorageError, StorageErrorKind, TaskId, TaskState,
    storage::{
        Claim, Claimed, Effect, Enqueued, Known, Memory, NewTask, Pruned, Reply, Revive, Settled,
        Settlement,
    },
    verdict::{SUSPECT_AFTER, Verdict},
};

use crate::{
    bells::Ring,
    bugs::Bug,
    judge::Case,
    ledger::Asked,
    model::By,
    rules::{Broken, Rule},
    seat::Seat,
    truth::Answer,
    world::{Inner, World, at_once},
};

impl World {
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Memory) -> Reply<'_, T>) -> Answer<T> {
        at_once(read(&self.truth.memory))
    }

    pub(crate) fn enqueue(
        &self,
        seat: &Arc<Seat>,
        tasks: Vec<NewTask>,
        asked: Option<Asked>,
    ) -> Answer<Vec<Enqueued>> {
        let tasks = &self.truth.made_up(tasks, asked)[..];
        if asked.is_some() {
            self.refuse_ticks(tasks.iter())?;
        }
        if self.is_forgotten(tasks) {
            return Err(StorageError::new(StorageErrorKind::Closed, "the history is over"));
        }
        let enqueued = self.truth.enqueue(seat, tasks.to_vec())?;
        self.with(|inner| {
            for (task, stored) in tasks.iter().zip(&enqueued) {
                let expected = inner.model.answer(task);
                self.see_asked(inner, seat, (task, stored.id), By::Enqueue)?;
                if *stored != expected {
                    let how = format!("it was told {stored:?}, and it is {expected:?}");
                    let (rule, place) = (Rule::ToldWhatHappened, Some(seat.place));
                    return Err(Broken { rule, how, task: inner.model.n(expected.id), place });
                }
                inner.model.answered(task, *stored);
                // One that is said again tells again: whoever said it first may not have come to that.
                let info = inner.model.tales.get(&stored.id).and_then(|it| it.info.as_ref());
                let due = info.filter(|it| it.state == TaskState::Pending).map(|it| it.due);
                let due_in = |at: SystemTime| at.duration_since(self.truth.clock());
                let due_in = due.map(|at| due_in(at).unwrap_or_default());
                if !self.truth.has(Bug::SaidAgainInSilence) {
                    inner.rings.extend(due_in.map(Ring::Work));
                }
            }
            asked.map_or(Ok(()), |asked| self.made_up(inner, (tasks, &enqueued), asked))
        });
        if self.truth.has(Bug::StoredAndRefused) && enqueued.len() == 1 {
            return Err(StorageError::new(StorageErrorKind::Full, "there is no room"));
        }
        Ok(enqueued)
    }

    /// A dispatch whose answer was lost is said again, and the task has ended and was deleted meanwhile: it is stored anew.
    ///
    /// With [`ephemeral`](evertask::Retention::ephemeral) that may happen soon, and nothing more is promised of such a task; so the
    /// history ends here.
    fn is_forgotten(&self, tasks: &[NewTask]) -> bool {
        let deleted = |inner: &mut Inner| {
            let gone = |task: &NewTask| {
                let stored = inner.model.told.get(&task.id).map_or(task.id, |told| told.id);
                inner.model.tales.get(&stored).is_some_and(|tale| tale.info.is_none())
            };
            tasks.iter().any(gone)
        };
        let forgotten = self.look(deleted);
        if forgotten {
            self.say(None, None, || {
                "the storage has forgotten a task that is dispatched again".into()
            });
            self.alarm.notify_one();
        }
        forgotten
    }

    pub(crate) fn claim(&self, seat: &Arc<Seat>, claim: Claim) -> Answer<Claimed> {
        let line = self.look(|inner| self.line(inner, &claim));
        let suspect = claim.suspect;
        let claimed = self.truth.claim(claim)?;
        self.with(|inner| {
            let mut taken: BTreeMap<Arc<str>, Vec<TaskId>> = BTreeMap::new();
            for ended in &claimed.expired {
                self.see(inner, Some(seat), ended.id, By::Claim)?;
            }
            for task in &claimed.tasks {
                // Otherwise a claim is repeated, and gets what it got before.
                let new = self.see(inner, Some(seat), task.id, By::Claim)?;
                if new {
                    taken.entry(Arc::clone(&task.queue)).or_default().push(task.id);
                }
                if let Some(tale) = inner.model.tales.get_mut(&task.id) {
                    tale.marked |= task.begun;
                }
                let (n, place) = (inner.model.n(task.id), Some(seat.place));
                let broken = |rule, how: String| Broken { rule, how, task: n, place };
                let stored = inner.model.tales.get(&task.id).and_then(|tale| tale.info.as_ref());
                if let Some(stored) = stored.filter(|_| new)
                    && (&stored.payload, stored.attempt) != (&task.payload, task.attempt)
                {
                    let how = format!("try {} of {:?} was given", task.attempt, task.payload);
                    return Err(broken(Rule::GivenAsStored, how));
                }
                if !seat.release.reads(&task.name, task.version) {
                    let (name, version) = (&task.name, task.version);
                    let how =
                        format!("`{name}`, version {version}, goes to a node that cannot read it");
                    return Err(broken(Rule::KnownHandlers, how));
                }
                let asked = inner.model.tales.get(&task.id).and_then(|tale| tale.asked.2);
                if new && asked.is_some_and(|at| at <= self.truth.clock()) {
                    let how = "it was claimed after it expired".into();
                    return Err(broken(Rule::NotAfterItExpired, how));
                }
            }
            for (queue, mut ids) in taken.into_iter().filter(|_| !suspect) {
                let first: Vec<TaskId> = line.get(&queue).into_iter().flatten().copied().collect();
                let mut first: Vec<TaskId> = first.into_iter().take(ids.len()).collect();
                ids.sort_unstable();
                first.sort_unstable();
                if let Some(id) = ids.iter().find(|id| !first.contains(id)) {
                    let (task, place) = (inner.model.n(*id), Some(seat.place));
                    let how = format!("others in `{queue}` were before it");
                    return Err(Broken { rule: Rule::InOrder, how, task, place });
                }
            }
            Ok(())
        });
        Ok(claimed)
    }

    /// What is due in each queue for this claim, in the order in which it is to be given out.
    fn line(&self, inner: &Inner, claim: &Claim) -> BTreeMap<Arc<str>, Vec<TaskId>> {
        let clock = self.truth.clock();
        let mut lines: BTreeMap<Arc<str>, Vec<_>> = BTreeMap::new();
        for (id, tale) in &inner.model.tales {
            let Some(info) = &tale.info else { continue };
            let reads = |known: &Known| *known.name == *info.name && known.version >= info.version;
            let known = claim.handlers.iter().any(reads);
            let expired = tale.asked.2.is_some_and(|at| at <= clock);
            let suspect = info.losses >= SUSPECT_AFTER;
            if info.state == TaskState::Pending
                && info.due <= clock
                && known
                && !expired
                && !suspect
            {
                let place = (Reverse(tale.asked.0), info.due, *id);
                lines.entry(info.queue.as_str().into()).or_default().push(place);
            }
        }
        let sorted = lines.into_iter().map(|(queue, mut places)| {
            places.sort();
            (queue, places.into_iter().map(|(_, _, id)| id).collect())
        });
        sorted.collect()
    }

    pub(crate) fn settle(&self, seat: &Arc<Seat>, batch: Vec<Settlement>) -> Answer<Vec<Settled>> {
        let bad = self.bad_ends(&batch)?;
        let one = |(settlement, bad): (Settlement, Option<String>)| match bad {
            Some(why) => Ok(Settled::Unstorable(why)),
            None => self.settle_one(seat, &settlement),
        };
        batch.into_iter().zip(bad).map(one).collect()
    }

    fn settle_one(&self, seat: &Arc<Seat>, settlement: &Settlement) -> Answer<Settled> {
        let settlement = &self.truth.misjudged(settlement.clone());
        let settled = self.truth.settle(settlement.clone())?;
        self.with(|inner| {
            let before = inner.model.tales.get(&settlement.id);
            let before = before.and_then(|tale| Some((tale.info.clone()?, tale.loss.is_some())));
            let changed = self.see(inner, Some(seat), settlement.id, By::Settle(settlement))?;
            let tale = inner.model.tales.get(&settlement.id);
            let again = tale.filter(|_| !changed).and_then(|tale| {
                // Of one that was kept for its time nobody knows any more.
                let end = tale.end.as_ref().filter(|_| self.plan.ephemeral);
                let last = tale.info.as_ref().or(end);
                let current = last.is_some_and(|it| it.lease == settlement.lease);
                // Revived since, it is as if it had never run, and the end of what it did before changes nothing any more.
                let pending = last.is_some_and(|it| it.state == TaskState::Pending);
                let ended = matches!(
                    settlement.verdict,
                    Verdict::Complete | Verdict::Fail | Verdict::Cancel { .. }
                );
                tale.accepted.get(&settlement.lease).filter(|_| current && !(pending && ended))
            });
            let stored = matches!(settled, Settled::Applied(_) | Settled::Gone(_));
            if again == Some(&settlement.verdict) && !stored {
                let how = format!("{:?} was stored, and is {settled:?}", settlement.verdict);
                let (task, place) = (inner.model.n(settlement.id), Some(seat.place));
                return Err(Broken { rule: Rule::SettledAgain, how, task, place });
            }
            let (n, place) = (inner.model.n(settlement.id), Some(seat.place));
            let broken = |rule, how: String| Broken { rule, how, task: n, place };
            let run = inner.model.runs.get(&(settlement.id, settlement.lease));
            if changed
                && run.is_some_and(|run| run.end.is_none() && !inner.seats[run.seat].is_dead())
            {
                let how = format!("the run of lease {} goes on", settlement.lease);
                return Err(broken(Rule::StoredAfterItEnded, how));
            }
            if let Some((task, seized)) = before.filter(|_| changed) {
                let retries = self.retries(&task);
                let (closing, cut_off) = {
                    let inside = seat.inside.lock().unwrap();
                    let at = run.and_then(|run| run.end.as_ref()).map(|(at, _)| self.start + *at);
                    let cut_off = inside.was_cut_off(at, self.plan.lease);
                    (inside.closing.is_some(), cut_off)
                };
                let case = Case { task: &task, run, retries, seized, closing, cut_off };
                let decided = case.allows(&settlement.verdict);
                decided.map_err(|how| broken(Rule::DecidedByItsEnd, how))?;
            }
            let tale = inner.model.tales.get(&settlement.id);
            let info = tale.and_then(|tale| tale.info.as_ref());
            let end = tale.and_then(|tale| tale.end.as_ref());
            let completes = changed
                && info.is_none_or(|it| it.state == TaskState::Completed)
                && end.is_some_and(|it| it.state == TaskState::Completed);
            if changed {
                self.stored_as_it_can_be(inner, seat, settlement, completes)?;
            }
            let refused = settlement.output_error.is_some();
            if completes && let Some(end) = end.filter(|_| !refused) {
                let output = end.output.as_ref().and_then(|it| it.read::<u64>().ok());
                if output != Some(settlement.lease) {
                    let how = format!("{output:?} is not of the run of lease {}", settlement.lease);
                    return Err(broken(Rule::OutputOfItsRun, how));
                }
            }
            for effect in &settlement.effects {
                let Effect::Enqueue(task) = effect else { continue };
                let was = inner.model.tales.contains_key(&task.id);
                self.see_asked(inner, seat, (task, task.id), By::Effect)?;
                let is = inner.model.tales.get(&task.id).is_some_and(|tale| tale.info.is_some());
                if completes && !is {
                    return Err(broken(Rule::EffectsWithCompletion, "it is not stored".into()));
                }
                if !completes && is && !was {
                    return Err(broken(Rule::EffectsWithCompletion, "it is stored".into()));
                }
            }
            Ok(())
        });
        Ok(settled)
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
            inner.rings.push(Ring::Orders);
            self.series_stand(inner)
        });
        Ok(cancel)
    }

    pub(crate) fn revive(&self, seat: &Arc<Seat>, id: TaskId) -> Answer<Revive> {
        let revived = self.truth.revive(id)?;
        self.with(|inner| {
            let task = inner.model.n(id);
            inner.history.say(self.now(), Some(seat.place), task, format!("revive: {revived:?}"));
            self.see(inner, Some(seat), id, By::Revive)?;
            self.series_stand(inner)
        });
        Ok(revived)
    }

    pub(crate) fn prune(&self, seat: &Arc<Seat>, limit: usize) -> Answer<Pruned> {
        let pruned = self.truth.prune(limit)?;
        self.with(|inner| {
            let ids: Vec<TaskId> = inner.model.tales.keys().copied().collect();
            let mut all = ids.into_iter();
            all.try_for_each(|id| self.see(inner, Some(seat), id, By::Prune).map(drop))
        });
        Ok(pruned)
    }
}
