//! What this node holds: running attempts, tasks taken ahead, and how much room is left.
//!
//! Plain bookkeeping under one lock that is never held across an await. This file is a task's way over the desk: a claim brings
//! it, its attempt begins and ends, what became of it is stored. `room` is what a claim may ask for, `view` what others see.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    context::Context,
    runtime::{pace::Pace, settings::Settings},
    stop::Stop,
    storage::ClaimedTask,
    task::TaskId,
};

mod room;
mod view;

pub use self::view::RunningTask;

#[derive(Debug)]
pub(crate) struct Desk {
    state: Mutex<State>,
    /// A slot became free and no task was there to fill it.
    pub(crate) freed: Notify,
    /// The first task arrived on an empty desk.
    pub(crate) busy: Notify,
    /// The last task left.
    pub(crate) empty: Notify,
}

#[derive(Debug)]
struct State {
    limit: usize,
    used: usize,
    queues: Vec<Queue>,
    by_name: HashMap<Arc<str>, usize>,
    /// In the order of their ids, so that what is told to all of them is told in the same order every time.
    held: BTreeMap<TaskId, Held>,
    /// Which queue is asked for first, so that none starves another.
    turn: usize,
    /// The highest claim whose reply has arrived.
    claims_done: u64,
    draining: bool,
    /// Out of touch with the storage: nothing is to begin.
    shut: bool,
    /// How often it has been.
    shuts: u64,
}

#[derive(Debug)]
struct Queue {
    name: Arc<str>,
    limit: usize,
    used: usize,
    ahead: VecDeque<(Instant, ClaimedTask)>,
    pace: Pace,
    /// There may be tasks due in it that no claim has seen.
    due: bool,
}

#[derive(Debug)]
struct Held {
    lease: u64,
    /// What brought it.
    claim: u64,
    queue: usize,
    name: Arc<str>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Taken ahead, waits for a slot.
    Ahead,
    /// Has its slot and is about to run, unless it was told to stop meanwhile.
    Starting { stop: Option<Stop> },
    /// Its handler runs.
    Running { ctx: Context, since: Instant, marked: bool },
    /// Its handler has ended; what that means is being stored.
    Ended,
}

/// What became of the tasks a claim brought, other than waiting on the desk.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// They have a slot and are to begin.
    pub(crate) begin: Vec<ClaimedTask>,
    /// They come too late: the node shuts down, or may have lost them already.
    pub(crate) refused: Vec<ClaimedTask>,
}

impl Desk {
    pub(crate) fn new(settings: &Settings) -> Self {
        let mut names: Vec<_> =
            settings.queues.keys().filter(|name| settings.serves(name)).cloned().collect();
        names.sort();
        let queues: Vec<_> = names
            .into_iter()
            .map(|name| {
                let own = settings.queues.get(&name).and_then(|queue| queue.concurrency);
                let limit = own.unwrap_or(settings.concurrency).min(settings.concurrency);
                Queue {
                    name,
                    limit,
                    used: 0,
                    ahead: VecDeque::new(),
                    pace: Pace::default(),
                    due: true,
                }
            })
            .collect();
        let by_name = queues.iter().enumerate().map(|(i, queue)| (queue.name.clone(), i)).collect();
        Self {
            state: Mutex::new(State {
                limit: settings.concurrency,
                used: 0,
                queues,
                by_name,
                held: BTreeMap::new(),
                turn: 0,
                claims_done: 0,
                draining: false,
                shut: false,
                shuts: 0,
            }),
            freed: Notify::new(),
            busy: Notify::new(),
            empty: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a claim brought that was made when the desk had been shut so often. What is not returned waits for a slot.
    pub(crate) fn take(&self, claim: u64, shuts: u64, tasks: Vec<ClaimedTask>) -> Taken {
        let mut state = self.state();
        let state = &mut *state;
        state.claims_done = state.claims_done.max(claim);
        if state.held.is_empty() && !tasks.is_empty() {
            self.busy.notify_one();
        }
        let now = Instant::now();
        let mut taken = Taken::default();
        for task in tasks {
            let Some(&index) = state.by_name.get(&task.queue) else { continue };
            state.lose(task.id);
            // What was given before the desk was shut others may have taken meanwhile, and be running.
            let shut = state.takes_none() || state.shuts != shuts;
            let queue = &mut state.queues[index];
            queue.pace.brought(task.payload.bytes.len());
            let fits = task.begun || (state.used < state.limit && queue.used < queue.limit);
            let (id, lease, name) = (task.id, task.lease, Arc::clone(&task.name));
            let phase = if shut {
                taken.refused.push(task);
                Phase::Ended
            } else if fits {
                state.used += 1;
                queue.used += 1;
                taken.begin.push(task);
                Phase::Starting { stop: None }
            } else {
                queue.ahead.push_back((now, task));
                Phase::Ahead
            };
            state.held.insert(id, Held { lease, claim, queue: index, name, phase });
        }
        taken
    }

    /// An attempt begins.
    pub(crate) fn begun(&self, task: &ClaimedTask, ctx: &Context) {
        if let Some(held) = self.state().held.get_mut(&task.id)
            && held.lease == task.lease
        {
            if let Phase::Starting { stop: Some(stop) } = held.phase {
                ctx.stop().give(stop);
            }
            held.phase =
                Phase::Running { ctx: ctx.clone(), since: Instant::now(), marked: task.begun };
        } else {
            ctx.stop().give(Stop::Lost);
        }
    }

    /// An attempt's handler has ended and its slot is free. Returns a task to fill it with, if one was taken ahead.
    pub(crate) fn ended(&self, task: &ClaimedTask, ran: Option<Duration>) -> Option<ClaimedTask> {
        let mut state = self.state();
        let state = &mut *state;
        let index = match state.held.get_mut(&task.id) {
            Some(held) if held.lease == task.lease => {
                held.phase = Phase::Ended;
                held.queue
            }
            _ => *state.by_name.get(&task.queue)?,
        };
        state.used -= 1;
        let queue = &mut state.queues[index];
        queue.used -= 1;
        if let Some(ran) = ran {
            queue.pace.saw(ran);
        }
        let next = if state.takes_none() {
            None
        } else {
            // The others first, in turn.
            let order = (index + 1..state.queues.len()).chain(0..=index);
            let mut filled = None;
            for other in order {
                let queue = &mut state.queues[other];
                if queue.used < queue.limit
                    && let Some((_, task)) = queue.ahead.pop_front()
                {
                    queue.used += 1;
                    state.used += 1;
                    if let Some(held) = state.held.get_mut(&task.id) {
                        held.phase = Phase::Starting { stop: None };
                    }
                    filled = Some(task);
                    break;
                }
            }
            filled
        };
        let queue = &state.queues[index];
        if next.is_none() || queue.ahead.len() <= queue.pace.ahead(queue.limit) / 2 {
            self.freed.notify_one();
        }
        next
    }

    /// What was to be said about a task is stored, or refused: it is no longer ours.
    pub(crate) fn gone(&self, leases: impl IntoIterator<Item = (TaskId, u64)>) {
        let mut state = self.state();
        for (id, lease) in leases {
            // Pending again, it may have come back meanwhile under a newer lease.
            if state.held.get(&id).is_some_and(|held| held.lease == lease) {
                state.held.remove(&id);
            }
        }
        if state.held.is_empty() {
            self.empty.notify_waiters();
        }
        self.freed.notify_one();
    }

    /// Tells a running attempt to stop. Returns the task if it was only waiting for a slot: it is then taken off the desk's
    /// queue and has to be settled.
    pub(crate) fn stop(&self, id: TaskId, lease: Option<u64>, reason: Stop) -> Option<ClaimedTask> {
        let mut state = self.state();
        let state = &mut *state;
        let held = state.held.get_mut(&id)?;
        if lease.is_some_and(|lease| lease != held.lease) {
            return None;
        }
        match &mut held.phase {
            Phase::Running { ctx, .. } => {
                ctx.stop().give(reason);
                None
            }
            Phase::Starting { stop } => {
                *stop = Some(reason);
                None
            }
            Phase::Ahead => {
                let ahead = &mut state.queues[held.queue].ahead;
                let at = ahead.iter().position(|(_, task)| task.id == id)?;
                let (_, task) = ahead.remove(at)?;
                if reason == Stop::Lost {
                    state.held.remove(&id);
                    return None;
                }
                held.phase = Phase::Ended;
                Some(task)
            }
            Phase::Ended => None,
        }
    }

    /// Stops taking tasks in, and returns those that wait for a slot.
    pub(crate) fn drain(&self) -> Vec<ClaimedTask> {
        let mut state = self.state();
        state.draining = true;
        state.put_back()
    }

    /// Takes nothing in for the time being, and tells what runs to stop, as others may have it. Returns how many run, and those
    /// that wait for a slot.
    pub(crate) fn shut(&self) -> (usize, Vec<ClaimedTask>) {
        let ahead = {
            let mut state = self.state();
            state.shut = true;
            state.shuts += 1;
            state.put_back()
        };
        self.stop_all(Stop::CutOff);
        (self.used(), ahead)
    }

    /// Takes tasks in again.
    pub(crate) fn open(&self) {
        self.state().shut = false;
        self.freed.notify_one();
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.state().shut
    }

    /// How often it has been shut.
    pub(crate) fn shuts(&self) -> u64 {
        self.state().shuts
    }

    /// Tells every running attempt to stop.
    pub(crate) fn stop_all(&self, reason: Stop) {
        for held in self.state().held.values_mut() {
            match &mut held.phase {
                Phase::Running { ctx, .. } => ctx.stop().give(reason),
                Phase::Starting { stop } => *stop = Some(reason),
                Phase::Ahead | Phase::Ended => {}
            }
        }
    }

    /// Lets go of everything: the executor on which it ran is gone.
    pub(crate) fn abandon(&self) {
        drop(self.drain());
        let held = std::mem::take(&mut self.state().held);
        drop(held);
        self.empty.notify_waiters();
    }
}

impl State {
    /// Nothing is to begin here.
    fn takes_none(&self) -> bool {
        self.draining || self.shut
    }

    /// Takes off the desk what waits for a slot.
    fn put_back(&mut self) -> Vec<ClaimedTask> {
        let Self { queues, held, .. } = self;
        let waiting = queues.iter_mut().flat_map(|queue| queue.ahead.drain(..));
        waiting.map(|(_, task)| task).inspect(|task| end(held, task.id)).collect()
    }

    /// A task held before comes back under a newer lease: it was taken from us meanwhile, and what we still do under the old
    /// one is to stop.
    fn lose(&mut self, id: TaskId) {
        let Some(old) = self.held.remove(&id) else { return };
        match old.phase {
            Phase::Running { ctx, .. } => ctx.stop().give(Stop::Lost),
            Phase::Ahead => self.queues[old.queue].ahead.retain(|(_, task)| task.id != id),
            // One that is starting finds out when it begins.
            Phase::Starting { .. } | Phase::Ended => {}
        }
    }
}

fn end(held: &mut BTreeMap<TaskId, Held>, id: TaskId) {
    if let Some(held) = held.get_mut(&id) {
        held.phase = Phase::Ended;
    }
}
