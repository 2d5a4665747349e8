//! What must be: each change of a stored task held against the table of states, and each run against what the storage took.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use evertask::{
    Body, TaskId, TaskInfo, TaskState,
    storage::{Enqueued, Settlement},
    verdict::{SUSPECT_AFTER, Verdict},
};

use crate::{
    rules::{Broken, Rule},
    states::{born, gone, went},
};

/// All tasks that ever were, and all runs.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) tales: BTreeMap<TaskId, Tale>,
    /// By task and lease.
    pub(crate) runs: BTreeMap<(TaskId, u64), RunSeen>,
    /// What the storage has told dispatches, by the id that each was made with.
    pub(crate) told: BTreeMap<TaskId, Enqueued>,
    /// And by the number of the task that was asked for.
    pub(crate) answers: BTreeMap<u32, Vec<Enqueued>>,
}

/// One task from its first day to its last.
#[derive(Debug)]
pub(crate) struct Tale {
    /// Its number in the history.
    pub(crate) n: usize,
    /// As it was stored when last seen; `None` once deleted.
    pub(crate) info: Option<TaskInfo>,
    /// Somebody was told that it is stored.
    pub(crate) acknowledged: bool,
    /// Somebody was told that it is or will be cancelled.
    pub(crate) cancelled: bool,
    /// As it was asked for: priority, key, when it expires.
    pub(crate) asked: (i16, Option<String>, Option<SystemTime>),
    /// Who got it last, if anybody did.
    pub(crate) held: Option<Holding>,
    /// Its attempt has begun, by what the storage was told of it since it was last given out.
    pub(crate) marked: bool,
    /// It was seized: it had begun by what is stored, and nothing else ran there.
    pub(crate) loss: Option<(bool, bool)>,
    /// How often it was lost after it had begun, and how often as a suspect with nothing else running there.
    pub(crate) losses: u32,
    pub(crate) lost_alone: u32,
    /// The leases under which it was given as a suspect. Under an older one it may run when it has become one.
    pub(crate) suspects: BTreeSet<u64>,
    /// The states in which it ended.
    pub(crate) ends: Vec<TaskState>,
    /// As it was when it last ended.
    pub(crate) end: Option<TaskInfo>,
    /// Which life has heard that it is stored as it asked, and when.
    pub(crate) rung: Option<(usize, Duration)>,
    /// Since when each life could have run it and had nothing else to do.
    pub(crate) lies: BTreeMap<usize, Duration>,
    /// Runs that have begun, by the number of the task that it was then.
    pub(crate) begun: BTreeMap<u32, usize>,
    /// The settlements that changed it, by lease.
    pub(crate) accepted: BTreeMap<u64, Verdict>,
}

/// Who has a task, by what is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holding {
    /// Which of all lives of all nodes.
    pub(crate) by: usize,
    pub(crate) since: Duration,
    /// It was not given to it, but taken over from a dead one.
    pub(crate) seized: bool,
}

/// One run of a handler.
#[derive(Debug, Clone)]
pub(crate) struct RunSeen {
    pub(crate) place: usize,
    /// Which of all lives of all nodes.
    pub(crate) seat: usize,
    pub(crate) begin: Duration,
    /// How long it may take, and until when that is, however long its process stood still meanwhile.
    pub(crate) limit: Option<Duration>,
    pub(crate) over: Option<Duration>,
    pub(crate) queue: String,
    /// It waits to be told to stop, and may take a moment for that.
    pub(crate) listens: bool,
    pub(crate) end: Option<(Duration, End)>,
    pub(crate) suspect: bool,
    /// It was told to end, and has to by then.
    pub(crate) must_end: Option<Duration>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Returned,
    Failed,
    /// And the next try is to come after that time.
    FailedAsking(Duration),
    FailedForGood,
    Snoozed(Duration),
    GaveUp,
    /// It was dropped.
    Dropped,
}

/// What changed a task.
#[derive(Debug, Clone, Copy)]
pub(crate) enum By<'a> {
    Enqueue,
    Claim,
    Settle(&'a Settlement),
    /// Stored by the completion of another.
    Effect,
    Seize,
    Cancel,
    Revive,
    Prune,
    Schedule,
    Renew,
    /// Seen without any call about it.
    Nobody,
}

pub(crate) fn spent(info: &TaskInfo) -> u32 {
    info.attempt - u32::from(info.state == TaskState::Running)
}

/// The number of the plan that a task goes by.
pub(crate) fn number(info: &TaskInfo) -> u32 {
    number_of(&info.payload)
}

pub(crate) fn number_of(payload: &Body) -> u32 {
    let digits: String =
        payload.as_str().unwrap_or("").chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(u32::MAX)
}

/// Nothing has changed that anybody could see.
fn same(old: &TaskInfo, new: &TaskInfo) -> bool {
    let of = |it: &TaskInfo| {
        let when = (it.due, it.started, it.finished, it.expires);
        let what = (it.state, it.lease, it.attempt, it.priority, it.losses, it.cancel_asked);
        (what, when, it.attempts.len())
    };
    let text =
        |it: &TaskInfo| (it.payload.clone(), it.error.clone(), it.key.clone(), it.output.clone());
    of(old) == of(new) && text(old) == text(new)
}

impl Model {
    pub(crate) fn n(&self, id: TaskId) -> Option<usize> {
        self.tales.get(&id).map(|tale| tale.n)
    }

    /// A task is now like this. Says what happened, if anything did.
    pub(crate) fn changed(
        &mut self,
        id: TaskId,
        new: Option<TaskInfo>,
        by: By<'_>,
        clock: SystemTime,
        (retries, max_losses): (u32, u32),
    ) -> Result<Option<String>, Broken> {
        if new.is_none() && !self.tales.contains_key(&id) {
            return Ok(None);
        }
        let n = self.tales.len();
        let known = self.tales.get(&id).and_then(|tale| tale.info.as_ref());
        let broken = |rule, how: String| Broken {
            rule,
            how,
            task: Some(self.tales.get(&id).map_or(n, |tale| tale.n)),
            place: None,
        };
        let text = match (known, &new) {
            (None, None) => None,
            (None, Some(new)) => Some(born(new, by).map_err(|(rule, how)| broken(rule, how))?),
            (Some(old), None) => {
                Some(gone(old, by, clock).map_err(|(rule, how)| broken(rule, how))?)
            }
            (Some(old), Some(new)) if same(old, new) => None,
            (Some(old), Some(new)) => {
                let text = went(old, new, by, clock, retries);
                Some(text.map_err(|(rule, how)| broken(rule, how))?)
            }
        };
        if let (None, Some(new)) = (known, &new)
            && let (false, Some(key)) = (new.state.is_final(), &new.key)
        {
            let of_key = |tale: &&Tale| {
                let info = tale.info.as_ref();
                info.is_some_and(|it| {
                    it.name == new.name && it.key.as_ref() == Some(key) && !it.state.is_final()
                })
            };
            if let Some(other) = self.tales.values().find(of_key) {
                let how = format!("{key:?} of {} is held by task {} already", new.name, other.n);
                return Err(broken(Rule::KeysAreUnique, how));
            }
        }
        if let (Some(new), By::Claim | By::Prune) = (&new, by)
            && (text.is_some(), new.state) == (true, TaskState::Cancelled)
            && let Some(expires) = self.tales.get(&id).map(|tale| tale.asked.2)
            && expires.is_none_or(|at| at > clock)
        {
            return Err(broken(Rule::ExpiresInTime, format!("it is to expire at {expires:?}")));
        }
        let tale = self.tales.entry(id).or_insert_with(|| Tale {
            n,
            info: None,
            acknowledged: false,
            cancelled: false,
            asked: (0, None, None),
            held: None,
            marked: false,
            loss: None,
            losses: 0,
            lost_alone: 0,
            suspects: BTreeSet::new(),
            ends: Vec::new(),
            end: None,
            rung: None,
            lies: BTreeMap::new(),
            begun: BTreeMap::new(),
            accepted: BTreeMap::new(),
        });
        let was = tale.info.as_ref().map(|info| info.state);
        if let Some(new) = &new {
            let ended_otherwise = new.state.is_final() && new.state != TaskState::Cancelled;
            let back = was == Some(TaskState::Running) && new.state == TaskState::Pending;
            if tale.cancelled && !matches!(by, By::Revive) && (ended_otherwise || back) {
                let how = format!("it was to be cancelled and is {:?}", new.state);
                return Err(Broken {
                    rule: Rule::CancelWins,
                    how,
                    task: Some(tale.n),
                    place: None,
                });
            }
            if matches!(by, By::Revive) && was.is_some_and(TaskState::is_final) {
                (tale.cancelled, tale.losses, tale.lost_alone) = (false, 0, 0);
                tale.asked.2 = None;
            }
            // A dispatch that replaces it begins anew.
            if matches!(by, By::Enqueue | By::Effect | By::Schedule) && text.is_some() {
                (tale.losses, tale.lost_alone) = (0, 0);
            }
            if text.is_some() && new.state.is_final() {
                tale.ends.push(new.state);
                tale.end = Some(new.clone());
            }
            if let By::Settle(settlement) = by
                && text.is_some()
            {
                tale.accepted.insert(settlement.lease, settlement.verdict.clone());
                if let Err(how) = tale.count(settlement, max_losses) {
                    let task = Some(tale.n);
                    return Err(Broken { rule: Rule::QuarantineIsEarned, how, task, place: None });
                }
            }
        }
        if let (By::Settle(settlement), None, true) = (by, &new, text.is_some()) {
            tale.accepted.insert(settlement.lease, settlement.verdict.clone());
            tale.ends.push(TaskState::Completed);
            tale.end = tale.info.take().map(|mut end| {
                (end.state, end.output) = (TaskState::Completed, settlement.output.clone());
                end
            });
        }
        tale.info = new;
        Ok(text)
    }

    /// Runs whose ends were accepted lie one after the other.
    pub(crate) fn overlaps(&self) -> Result<(), Broken> {
        for (id, tale) in &self.tales {
            let mut last: Option<(u64, Duration)> = None;
            for lease in tale.accepted.keys() {
                let Some(run) = self.runs.get(&(*id, *lease)) else { continue };
                let Some((end, _)) = run.end else { continue };
                if let Some((before, until)) = last
                    && run.begin < until
                {
                    let how = format!("the runs of leases {before} and {lease} overlap");
                    return Err(Broken {
                        rule: Rule::OneAtATime,
                        how,
                        task: Some(tale.n),
                        place: Some(run.place),
                    });
                }
                last = Some((*lease, end));
            }
        }
        Ok(())
    }
}

impl Tale {
    /// Counts what a settlement that was accepted says about losses.
    fn count(&mut self, settlement: &Settlement, max_losses: u32) -> Result<(), String> {
        let loss = self.loss.take();
        let suspect = self.losses >= SUSPECT_AFTER;
        match (&settlement.verdict, loss) {
            (Verdict::Rescue { .. }, Some((started, alone))) => {
                self.losses += u32::from(started);
                self.lost_alone += u32::from(started && alone && suspect);
            }
            (Verdict::Fail, Some((started, alone))) => {
                let counts = u32::from(started && alone && suspect);
                if self.lost_alone + counts < max_losses || counts == 0 {
                    let (losses, alone) = (self.losses, self.lost_alone);
                    return Err(format!(
                        "lost {losses} times before, {alone} times as a suspect alone"
                    ));
                }
            }
            // It has shown that it can end.
            (Verdict::Retry { .. } | Verdict::Snooze { .. }, _) => {
                (self.losses, self.lost_alone) = (0, 0);
            }
            _ => {}
        }
        Ok(())
    }
}
