//! The simulated world: one storage, its clock, the nodes at their places, and what is known of all that happened.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use evertask::{
    TaskId,
    storage::{Clock, NodeId, Reply, ScheduleRow},
};
use fastrand::Rng;
use tokio::{sync::Notify, time::Instant};

use crate::{
    bells::Ring,
    bugs::Bug,
    check::DROPPED_WITHIN,
    faults::{Call, Fault, Harm},
    history::History,
    looks::Looks,
    made_up::MadeUp,
    model::Model,
    plan::Plan,
    rules::Broken,
    seat::Seat,
    truth::Truth,
    unstorable::Refused,
    wall,
};

/// How long a node waits for an answer that does not come.
const UNANSWERED: Duration = Duration::from_secs(35);

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) truth: Truth,
    pub(crate) start: Instant,
    /// By how many microseconds the storage's clock has jumped.
    jumped: Arc<AtomicI64>,
    inner: Mutex<Inner>,
    /// A rule was broken.
    pub(crate) alarm: Notify,
}

pub(crate) struct Inner {
    pub(crate) rng: Rng,
    pub(crate) history: History,
    pub(crate) model: Model,
    pub(crate) broken: Option<Broken>,
    /// Who has each place now.
    pub(crate) places: Vec<Option<Arc<Seat>>>,
    /// All that ever had one.
    pub(crate) seats: Vec<Arc<Seat>>,
    pub(crate) nodes: BTreeMap<NodeId, Arc<Seat>>,
    /// Nodes that are to come back, by place.
    pub(crate) back: Vec<(Instant, usize)>,
    /// What the call that is being done has to tell.
    pub(crate) rings: Vec<Ring>,
    /// How often each place has made each call before there was peace.
    pub(crate) counts: BTreeMap<(usize, Call), u32>,
    pub(crate) peace: bool,
    /// The tasks that instants of schedules have made: by key and instant.
    pub(crate) ticks: BTreeMap<(String, SystemTime), TaskId>,
    /// What each change has left of the schedules, by name and key.
    pub(crate) series: BTreeMap<(String, String), ScheduleRow>,
    pub(crate) looks: Looks,
    pub(crate) made_up: MadeUp,
    pub(crate) refused: Refused,
    /// Which release declared what is stored of the handler that declares when it runs.
    pub(crate) tide: Option<usize>,
}

/// The answer of the memory, which is there at once.
pub(crate) fn at_once<T>(mut reply: Reply<'_, T>) -> Result<T, evertask::StorageError> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match reply.as_mut().poll(&mut context) {
        std::task::Poll::Ready(answer) => answer,
        std::task::Poll::Pending => unreachable!("memory answers at once"),
    }
}

impl World {
    pub(crate) fn new(plan: Plan, bug: Option<Bug>) -> Arc<Self> {
        let (start, jumped) = (Instant::now(), Arc::new(AtomicI64::new(0)));
        let offset = Arc::clone(&jumped);
        let epoch = wall::begin();
        let clock = Clock::from_fn(move || {
            let jumped = offset.load(Ordering::SeqCst);
            let now = epoch + start.elapsed();
            let by = Duration::from_micros(jumped.unsigned_abs());
            if jumped < 0 { now - by } else { now + by }
        });
        // One more for those who only ask.
        let places = vec![None; plan.nodes.len() + 1];
        let inner = Inner {
            rng: Rng::with_seed(plan.seed ^ 0x5eed),
            history: History::default(),
            model: Model::default(),
            broken: None,
            places,
            seats: Vec::new(),
            nodes: BTreeMap::new(),
            back: Vec::new(),
            rings: Vec::new(),
            counts: BTreeMap::new(),
            peace: false,
            ticks: BTreeMap::new(),
            series: BTreeMap::new(),
            looks: Looks::default(),
            made_up: MadeUp::default(),
            refused: Refused::default(),
            tide: None,
        };
        let truth = Truth::new(&clock, bug);
        let (inner, alarm) = (Mutex::new(inner), Notify::new());
        Arc::new(Self { plan, truth, start, jumped, inner, alarm })
    }

    /// Since the beginning.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Does something with all that is known; a rule found broken ends the history.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Inner) -> Result<T, Broken>) -> Option<T> {
        let mut inner = self.inner.lock().unwrap();
        match work(&mut inner) {
            Ok(done) => Some(done),
            Err(broken) => {
                inner.broken.get_or_insert(broken);
                self.alarm.notify_one();
                None
            }
        }
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut Inner) -> T) -> T {
        look(&mut self.inner.lock().unwrap())
    }

    pub(crate) fn say(
        &self,
        seat: Option<&Seat>,
        id: Option<TaskId>,
        text: impl FnOnce() -> String,
    ) {
        self.look(|inner| {
            let task = id.and_then(|id| inner.model.n(id));
            inner.history.say(self.now(), seat.map(|seat| seat.place), task, text());
        });
    }

    /// The number of this life among all lives.
    pub(crate) fn index(&self, inner: &Inner, seat: &Arc<Seat>) -> usize {
        inner.seats.iter().position(|it| Arc::ptr_eq(it, seat)).unwrap_or(usize::MAX)
    }

    /// How long something is on its way.
    pub(crate) fn latency(&self) -> Duration {
        self.look(|inner| match inner.rng.u8(0..20) {
            0..=11 => Duration::ZERO,
            12..=17 => Duration::from_millis(inner.rng.u64(1..4)),
            18 => Duration::from_millis(inner.rng.u64(4..40)),
            _ if inner.peace => Duration::ZERO,
            _ => Duration::from_millis(inner.rng.u64(40..400)),
        })
    }

    /// What happens to the next call of this kind from there.
    pub(crate) fn harm(&self, seat: &Seat, call: Call) -> Option<Harm> {
        self.look(|inner| {
            if call == Call::Enqueue && seat.loses_answer() {
                return Some(Harm::LosesReply);
            }
            if inner.peace || seat.place >= self.plan.nodes.len() {
                return None;
            }
            let count = inner.counts.entry((seat.place, call)).or_default();
            let n = *count;
            *count += 1;
            self.plan.faults.iter().find_map(|fault| match fault {
                Fault::Call { place, call: which, nth, harm }
                    if (*place, *which, *nth) == (seat.place, call, n) =>
                {
                    if call != Call::Enqueue {
                        seat.disturb(self.now() + UNANSWERED);
                    }
                    Some(*harm)
                }
                _ => None,
            })
        })
    }

    /// The process is gone.
    pub(crate) fn crash(&self, seat: &Arc<Seat>, back: Duration) {
        if seat.is_dead() {
            return;
        }
        self.say(Some(seat), None, || "dies".into());
        seat.die();
        self.truth.died(seat.place);
        self.comes_back(seat, back);
    }

    /// Its place is free, and has a new node after that time.
    pub(crate) fn comes_back(&self, seat: &Arc<Seat>, back: Duration) {
        self.look(|inner| {
            let Some(place) = inner.places.get_mut(seat.place) else { return };
            if place.as_ref().is_some_and(|now| Arc::ptr_eq(now, seat)) {
                *place = None;
                inner.back.push((Instant::now() + back, seat.place));
            }
        });
    }

    /// The process goes on after that time.
    pub(crate) fn stand(&self, seat: &Arc<Seat>, lasts: Duration) {
        self.say(Some(seat), None, || format!("stands still for {lasts:?}"));
        seat.stand(lasts);
        seat.disturb(self.now() + lasts);
        let mut inside = seat.inside.lock().unwrap();
        inside.blocked = None;
        inside.closing = inside.closing.map(|at| at + lasts);
        drop(inside);
        self.look(|inner| {
            for run in inner.model.runs.values_mut().filter(|run| run.place == seat.place) {
                // Its timers run out meanwhile, and are seen when it moves again.
                let moves = self.now() + lasts;
                run.must_end = run.must_end.map(|at| at.max(moves + DROPPED_WITHIN));
                run.over = run.over.map(|at| at.max(moves));
            }
        });
    }

    pub(crate) fn jump(&self, by: i64) {
        self.say(None, None, || format!("the clock of the storage jumps by {by} ms"));
        self.jumped.fetch_add(by * 1_000, Ordering::SeqCst);
        // Timers go by what the clock was before.
        self.look(|inner| {
            for seat in inner.places.iter().flatten() {
                seat.disturb(self.now());
            }
        });
    }

    /// Who has a place and could be asked something.
    pub(crate) fn seat(&self, place: usize) -> Option<Arc<Seat>> {
        self.look(|inner| inner.places.get(place).cloned().flatten())
    }

    /// Nobody waits any longer, and nothing refers to itself any more.
    pub(crate) fn end(&self) {
        let seats = self.look(|inner| {
            inner.places.clear();
            inner.nodes.clear();
            std::mem::take(&mut inner.seats)
        });
        seats.iter().for_each(|seat| seat.bury());
    }
}
