//! What this node holds: running attempts, tasks taken ahead, and how much room is left.
//!
//! Plain bookkeeping under one lock that is never held across an await. The claimer brings tasks, attempts end, the settler
//! reports what is stored; the keeper compares with what the storage believes.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    context::Context,
    runtime::{pace::Pace, settings::Settings},
    stop::Stop,
    storage::{ClaimedTask, Room},
    task::TaskId,
};

/// A task taken ahead that has waited this long for a slot is given back.
const AHEAD_AT_MOST: Duration = Duration::from_secs(1);
/// An attempt taken ahead that runs longer than this is reported as begun, so that a crash counts against it.
const MARK_AFTER: Duration = Duration::from_secs(1);

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
    held: HashMap<TaskId, Held>,
    /// Which queue is asked for first, so that none starves another.
    turn: usize,
    /// The highest claim whose reply has arrived.
    claims_done: u64,
    draining: bool,
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

/// One attempt that runs now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunningTask {
    /// The task.
    pub id: TaskId,
    /// The name of its handler.
    pub name: Arc<str>,
    /// Its queue.
    pub queue: Arc<str>,
    /// How long it has been running.
    pub ran: Duration,
}

/// What became of the tasks a claim brought, other than waiting on the desk.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// They have a slot and are to begin.
    pub(crate) begin: Vec<ClaimedTask>,
    /// They come too late: the node shuts down.
    pub(crate) refused: Vec<ClaimedTask>,
}

/// What a claim is to ask for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) rooms: Vec<Room>,
    pub(crate) slots: usize,
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
                held: HashMap::new(),
                turn: 0,
                claims_done: 0,
                draining: false,
            }),
            freed: Notify::new(),
            busy: Notify::new(),
            empty: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tasks may have become due in any queue.
    pub(crate) fn look(&self) {
        self.state().queues.iter_mut().for_each(|queue| queue.due = true);
    }

    /// A claim has found nothing more that is due in these queues.
    pub(crate) fn seen(&self, rooms: &[Room]) {
        let mut state = self.state();
        let State { queues, by_name, .. } = &mut *state;
        for index in rooms.iter().filter_map(|room| by_name.get(&room.queue)) {
            queues[*index].due = false;
        }
    }

    /// Where one task could begin now, in whatever queue; `None` if nowhere.
    pub(crate) fn room_for_one(&self) -> Option<Vec<Room>> {
        let state = self.state();
        if state.draining || state.used >= state.limit {
            return None;
        }
        let free = state.queues.iter().filter(|queue| queue.used < queue.limit);
        let rooms: Vec<_> =
            free.map(|queue| Room { queue: queue.name.clone(), slots: 1, ahead: 0 }).collect();
        (!rooms.is_empty()).then_some(rooms)
    }

    /// The room there is for more tasks, in queues that may have some; `None` if there is none worth a claim.
    pub(crate) fn wanted(&self) -> Option<Wanted> {
        let mut state = self.state();
        let state = &mut *state;
        // What has ended but is not stored yet is bounded too: a storage that takes claims but no settlements gets no more.
        let ahead: usize = state.queues.iter().map(|queue| queue.ahead.len()).sum();
        if state.draining || state.held.len() - ahead > 4 * state.limit + 64 {
            return None;
        }
        let slots = state.limit.saturating_sub(state.used);
        // All slots are taken, but by quick tasks with more of them behind: they pass from one to the next without ever being
        // free. So that this starves no other queue, each of those may have one task among them.
        let passing = slots == 0 && state.queues.iter().any(|queue| !queue.ahead.is_empty());
        let (later, first) = state.queues.split_at(state.turn);
        let rooms: Vec<_> = first
            .iter()
            .chain(later)
            .filter(|queue| queue.due)
            .filter_map(|queue| {
                let own = queue.limit.saturating_sub(queue.used);
                let free = own.min(slots);
                let depth = queue.pace.ahead(queue.limit);
                // Filled up when half empty: fewer, larger claims.
                let ahead = if depth > 0 && queue.ahead.len() <= depth / 2 {
                    depth - queue.ahead.len()
                } else {
                    usize::from(passing && own > 0 && queue.ahead.is_empty())
                };
                let room = Room { queue: Arc::clone(&queue.name), slots: free, ahead };
                (free + ahead > 0).then_some(room)
            })
            .collect();
        if rooms.is_empty() {
            return None;
        }
        state.turn = (state.turn + 1) % state.queues.len();
        Some(Wanted { rooms, slots })
    }

    /// Takes in what a claim brought. What is not returned waits for a slot.
    pub(crate) fn take(&self, claim: u64, tasks: Vec<ClaimedTask>) -> Taken {
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
            let queue = &mut state.queues[index];
            let fits = task.begun || (state.used < state.limit && queue.used < queue.limit);
            let (id, lease, name) = (task.id, task.lease, Arc::clone(&task.name));
            let phase = if state.draining {
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
            state.held.insert(id, Held { lease, queue: index, name, phase });
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
        let next = if state.draining {
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
        let State { queues, held, .. } = &mut *state;
        let waiting = queues.iter_mut().flat_map(|queue| queue.ahead.drain(..));
        waiting.map(|(_, task)| task).inspect(|task| end(held, task.id)).collect()
    }

    /// Takes off the desk what has waited for a slot for too long.
    pub(crate) fn overdue(&self) -> Vec<ClaimedTask> {
        let mut state = self.state();
        let State { queues, held, .. } = &mut *state;
        let now = Instant::now();
        let mut overdue = Vec::new();
        for queue in queues {
            while queue.ahead.front().is_some_and(|(since, _)| now - *since > AHEAD_AT_MOST) {
                // Slots are not coming free, so these are not quick.
                queue.pace.saw_none();
                overdue.extend(queue.ahead.pop_front().map(|(_, task)| task));
            }
        }
        overdue.iter().for_each(|task| end(held, task.id));
        overdue
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

    /// Attempts taken ahead that have been running for a while and are not marked as begun.
    pub(crate) fn unmarked(&self) -> Vec<(TaskId, u64)> {
        let state = self.state();
        let long = |held: &Held| match &held.phase {
            Phase::Running { since, marked, .. } => !marked && since.elapsed() > MARK_AFTER,
            Phase::Ahead | Phase::Starting { .. } | Phase::Ended => false,
        };
        state
            .held
            .iter()
            .filter(|(_, held)| long(held))
            .map(|(id, held)| (*id, held.lease))
            .collect()
    }

    pub(crate) fn mark(&self, begun: &[(TaskId, u64)]) {
        let mut state = self.state();
        for (id, lease) in begun {
            if let Some(held) = state.held.get_mut(id)
                && held.lease == *lease
                && let Phase::Running { marked, .. } = &mut held.phase
            {
                *marked = true;
            }
        }
    }

    /// Every lease that is neither stored as ended nor on its way there.
    pub(crate) fn leases(&self) -> Vec<(TaskId, u64)> {
        let live = |held: &&Held| !matches!(held.phase, Phase::Ended);
        let state = self.state();
        state
            .held
            .iter()
            .filter(|(_, held)| live(held))
            .map(|(id, held)| (*id, held.lease))
            .collect()
    }

    pub(crate) fn holds(&self, id: TaskId, lease: u64) -> bool {
        self.state().held.get(&id).is_some_and(|held| held.lease == lease)
    }

    pub(crate) fn claims_done(&self) -> u64 {
        self.state().claims_done
    }

    /// How many tasks are held in any way.
    pub(crate) fn len(&self) -> usize {
        self.state().held.len()
    }

    /// How many attempts run or are about to.
    pub(crate) fn used(&self) -> usize {
        self.state().used
    }

    pub(crate) fn running(&self) -> Vec<RunningTask> {
        let state = self.state();
        let running = state.held.iter().filter_map(|(id, held)| match &held.phase {
            Phase::Running { since, .. } => Some(RunningTask {
                id: *id,
                name: Arc::clone(&held.name),
                queue: Arc::clone(&state.queues[held.queue].name),
                ran: since.elapsed(),
            }),
            Phase::Ahead | Phase::Starting { .. } | Phase::Ended => None,
        });
        running.collect()
    }

    /// The handlers that are being polled right now.
    pub(crate) fn polled(&self) -> Vec<Arc<str>> {
        let state = self.state();
        let polled =
            |held: &&Held| matches!(&held.phase, Phase::Running { ctx, .. } if ctx.is_polled());
        let mut names: Vec<_> =
            state.held.values().filter(polled).map(|held| Arc::clone(&held.name)).collect();
        names.sort();
        names.dedup();
        names
    }

    pub(crate) fn queues(&self) -> Vec<Arc<str>> {
        self.state().queues.iter().map(|queue| Arc::clone(&queue.name)).collect()
    }
}

impl State {
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

fn end(held: &mut HashMap<TaskId, Held>, id: TaskId) {
    if let Some(held) = held.get_mut(&id) {
        held.phase = Phase::Ended;
    }
}
