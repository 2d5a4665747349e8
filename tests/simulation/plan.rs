//! What a seed draws: everything that will be asked for and everything that will go wrong, as lists that can be made shorter.

use std::{fmt, time::Duration};

use evertask::{Missed, Overlap};
use fastrand::Rng;

use crate::{
    faults::Fault,
    series::{RulePlan, SchedulePlan, SeriesWish},
    unstorable::Part,
};

/// When everything that goes wrong is over.
pub(crate) const PEACE: Duration = Duration::from_secs(30);
/// Numbers of tasks that others dispatch on success begin here.
pub(crate) const EFFECTS: u32 = 1_000;
/// Numbers of tasks that schedules make begin here.
pub(crate) const TICKS: u32 = 2_000;
/// The number of the tasks of the handler that declares when it runs.
pub(crate) const TIDE: u32 = 2_900;
/// The number of a task that is dispatched in peace, to see how soon it runs.
pub(crate) const PROBE: u32 = 3_000;
/// And of one that runs until it is cancelled.
pub(crate) const LISTENER: u32 = 3_001;

/// In milliseconds.
pub(crate) const HOUR: i64 = 3_600_000;

/// Numbers of tasks that are dispatched together begin here, so many for each of them at most.
pub(crate) const CROWDS: u32 = 4_000;
pub(crate) const CROWD: u32 = 8;

/// A whole history before it happens.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) lease: Duration,
    pub(crate) max_losses: u32,
    /// How long the executor of a node may stand still.
    pub(crate) stall_limit: Duration,
    /// How many tasks of the second queue a node runs at a time.
    pub(crate) second_queue: usize,
    /// What completes is deleted at once.
    pub(crate) ephemeral: bool,
    /// One for each place: how many attempts its node runs at a time, and what it knows at first.
    pub(crate) nodes: Vec<(usize, Release)>,
    pub(crate) tasks: Vec<TaskPlan>,
    pub(crate) wishes: Vec<Wish>,
    pub(crate) schedules: Vec<SchedulePlan>,
    pub(crate) series_wishes: Vec<SeriesWish>,
    pub(crate) faults: Vec<Fault>,
}

/// Which handlers a program has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// `alpha`, and `gamma` under its old name.
    First,
    /// `beta` as well.
    Second,
    /// `gamma` under its new name, the old one an alias.
    Third,
}

/// A task somebody will dispatch.
#[derive(Debug, Clone)]
pub(crate) struct TaskPlan {
    pub(crate) number: u32,
    pub(crate) at: Duration,
    pub(crate) by: usize,
    pub(crate) handler: usize,
    pub(crate) key: Option<u8>,
    pub(crate) priority: i16,
    pub(crate) after: Duration,
    /// Its delay is said as an instant.
    pub(crate) instant: bool,
    pub(crate) expires: Option<Duration>,
    /// Who dispatches it waits no longer than that for the answer.
    pub(crate) gives_up: Option<Duration>,
    /// So many others are dispatched by then as well, all at once.
    pub(crate) crowd: u32,
    pub(crate) retries: u32,
    /// It dispatches another one on success.
    pub(crate) effect: bool,
    /// What its runs do, one after the other; the last one is repeated.
    pub(crate) acts: Vec<Act>,
}

/// What one run of a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Return(Duration),
    Fail(Duration),
    /// And says when to try again.
    FailAsking(Duration),
    FailForGood,
    Panic,
    /// Until its timeout.
    Hang,
    Snooze(Duration),
    GiveUp,
    /// Keeps the executor of its node for itself.
    Block(Duration),
    /// Waits to be told to stop, for at most so long, and then takes a while to end.
    Listen(Duration, Duration),
    /// Takes its node with it.
    Kill,
}

/// Something somebody asks for once a task is stored.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) at: Duration,
    pub(crate) by: usize,
    pub(crate) task: u32,
    pub(crate) retry: bool,
}

pub(crate) fn ms(rng: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}

/// One of these, each as often as its weight says.
pub(crate) fn weighted<T: Copy>(rng: &mut Rng, of: &[(u32, T)]) -> T {
    let mut left = rng.u32(0..of.iter().map(|(weight, _)| weight).sum());
    for (weight, one) in of {
        match left.checked_sub(*weight) {
            Some(rest) => left = rest,
            None => return *one,
        }
    }
    of[0].1
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let places = rng.usize(2..5);
        let releases = [(1, Release::First), (2, Release::Second), (5, Release::Third)];
        let nodes = (0..places).map(|_| (rng.usize(1..5), weighted(rng, &releases))).collect();
        let lease = Duration::from_secs(weighted(rng, &[(3, 3), (2, 5), (1, 15)]));
        let max_losses = rng.u32(1..4);
        let mut plan = Self {
            seed,
            lease,
            max_losses,
            stall_limit: Duration::from_secs(weighted(rng, &[(2, 300), (1, 2), (1, 5)])),
            second_queue: rng.usize(1..4),
            ephemeral: rng.u8(0..5) == 0,
            nodes,
            tasks: Vec::new(),
            wishes: Vec::new(),
            schedules: Vec::new(),
            series_wishes: Vec::new(),
            faults: Vec::new(),
        };
        for number in 0..rng.u32(3..25) {
            // One place more is that of someone who only asks.
            plan.tasks.push(TaskPlan::draw(rng, number, places + 1));
        }
        for _ in 0..rng.usize(0..6) {
            let task = rng.usize(0..plan.tasks.len());
            let at = plan.tasks[task].at + ms(rng, 0..8_000);
            let (by, task) = (rng.usize(0..=places), task as u32);
            plan.wishes.push(Wish { at, by, task, retry: rng.u8(0..4) == 0 });
        }
        for number in 0..weighted(rng, &[(3, 0), (2, 1), (1, 2)]) {
            plan.schedules.push(SchedulePlan::draw(rng, number, places));
        }
        // Some histories are calm, so that it shows what goes wrong without any fault.
        let faults = weighted(rng, &[(1, 0), (4, 4), (4, 10), (3, 25)]);
        for _ in 0..faults {
            plan.faults.push(Fault::draw(rng, places));
        }
        // Last, so that nothing else depends on it.
        plan.draw_series_wishes(rng);
        match rng.u8(0..8) {
            1 => plan.draw_rollout(rng),
            3 => plan.draw_fold(rng),
            _ => {}
        }
        plan.draw_more_of_series(rng);
        plan.draw_unstorable(rng);
        plan
    }

    /// Of some tasks the storage cannot take a part, nor the tasks of some series.
    fn draw_unstorable(&mut self, rng: &mut Rng) {
        let parts = [(3, Part::Output), (3, Part::Effects), (2, Part::Error)];
        for _ in 0..weighted(rng, &[(2, 0), (1, 1), (1, 3), (1, 8)]) {
            let task = &self.tasks[rng.usize(0..self.tasks.len())];
            let (part, says_which) = (weighted(rng, &parts), rng.bool());
            // Those that came together end together.
            let (number, part) = match task.crowd() {
                crowd if crowd.is_empty() => (task.number, part),
                crowd => (crowd.start, Part::Output),
            };
            self.faults.push(Fault::Unstorable { number, part, says_which });
        }
        for schedule in &self.schedules {
            if matches!(schedule.rule, RulePlan::Elapsed { .. }) && rng.u8(0..8) == 0 {
                let (number, part) = (schedule.number, Part::Ticks);
                self.faults.push(Fault::Unstorable { number, part, says_which: false });
            }
        }
    }

    /// Small histories in which nothing goes wrong, with something of everything.
    pub(crate) fn short() -> Vec<Self> {
        let task = |number, at, acts: &[Act]| TaskPlan {
            number,
            at: Duration::from_millis(at),
            by: number as usize % 3,
            handler: number as usize % 3,
            key: (number < 2).then_some(0),
            priority: 0,
            after: Duration::ZERO,
            instant: false,
            expires: None,
            gives_up: None,
            crowd: if number == 3 { 2 } else { 0 },
            retries: 2,
            effect: number == 2,
            acts: acts.to_vec(),
        };
        let (moment, second) = (Duration::from_millis(100), Duration::from_secs(1));
        let done = Act::Return(moment);
        let tasks = vec![
            task(0, 1_000, &[Act::Fail(moment), done]),
            task(3, 1_100, &[Act::Return(3 * second), done]),
            task(1, 1_200, &[Act::Snooze(second), done]),
            task(2, 3_000, &[Act::Fail(moment), done]),
            task(4, 4_000, &[Act::Listen(6 * second, moment), done]),
        ];
        let mut plan = Self {
            seed: 1,
            lease: Duration::from_secs(15),
            max_losses: 2,
            stall_limit: Duration::from_secs(300),
            second_queue: 1,
            ephemeral: false,
            nodes: vec![(1, Release::Third), (2, Release::Third)],
            tasks,
            wishes: vec![Wish { at: 6 * second, by: 0, task: 4, retry: false }],
            schedules: Vec::new(),
            series_wishes: Vec::new(),
            faults: vec![Fault::Shutdown { at: 9 * second, place: 1, back: second }],
        };
        let every = RulePlan::Elapsed { every: second, runs: 2 };
        let series = SchedulePlan {
            at: 2 * second,
            by: 0,
            number: TICKS,
            rule: every,
            overlap: Overlap::Skip,
            missed: Missed::Skip,
            acts: Vec::new(),
        };
        let mut again = plan.clone();
        again.seed = 2;
        again.schedules.push(series);
        plan.faults.clear();
        vec![plan, again]
    }

    /// Whether programs have a handler that declares when it runs.
    pub(crate) fn declares(&self) -> bool {
        self.schedules.iter().any(|schedule| schedule.rule == RulePlan::Declared)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed: _, lease, max_losses, stall_limit, .. } = self;
        let Self { second_queue, ephemeral, .. } = self;
        let Self { nodes, tasks, wishes, schedules, series_wishes, faults, .. } = self;
        writeln!(f, "  slots of the second queue: {second_queue}, ephemeral: {ephemeral}")?;
        writeln!(
            f,
            "  lease {lease:?}, max_losses {max_losses}, stall_limit {stall_limit:?}, nodes (slots, release) {nodes:?}"
        )?;
        tasks.iter().try_for_each(|task| writeln!(f, "  {task:?}"))?;
        wishes.iter().try_for_each(|wish| writeln!(f, "  {wish:?}"))?;
        schedules.iter().try_for_each(|schedule| writeln!(f, "  {schedule:?}"))?;
        series_wishes.iter().try_for_each(|wish| writeln!(f, "  {wish:?}"))?;
        faults.iter().try_for_each(|fault| writeln!(f, "  {fault:?}"))
    }
}

impl Plan {
    pub(crate) fn task(&self, number: u32) -> Option<&TaskPlan> {
        self.tasks.iter().find(|task| task.number == number)
    }

    /// What the nth run of a task does.
    pub(crate) fn act(&self, number: u32, nth: usize) -> Act {
        if number == LISTENER {
            return Act::Listen(Duration::from_secs(300), Duration::ZERO);
        }
        let series = self.schedules.iter().find(|schedule| schedule.number == number);
        let acts = self.task(number).map(|task| &task.acts).or(series.map(|series| &series.acts));
        let act = acts.and_then(|acts| acts.get(nth).or(acts.last()));
        act.copied().unwrap_or(Act::Return(Duration::ZERO))
    }
}

impl TaskPlan {
    /// The numbers of those that are dispatched with it.
    pub(crate) fn crowd(&self) -> std::ops::Range<u32> {
        let first = CROWDS + self.number * CROWD;
        first..first + self.crowd
    }

    fn draw(rng: &mut Rng, number: u32, places: usize) -> Self {
        // Most come in crowds, as they do.
        let at = match rng.u8(0..3) {
            0 => ms(rng, 0..22_000),
            _ => Duration::from_secs(rng.u64(1..22)),
        };
        let poison = rng.u8(0..30) == 0;
        let runs = if poison { 1 } else { rng.usize(1..4) };
        let mut acts: Vec<Act> = (0..runs).map(|_| Act::draw(rng)).collect();
        if poison {
            acts = vec![Act::Kill];
        } else {
            // So that it ends some day.
            acts.push(Act::Return(ms(rng, 0..300)));
        }
        Self {
            number,
            at,
            by: rng.usize(0..places),
            handler: weighted(rng, &[(4, 0), (2, 1), (2, 2), (1, 3), (2, 4)]),
            key: (rng.u8(0..4) == 0).then(|| rng.u8(0..2)),
            priority: weighted(rng, &[(6, 0), (1, -3), (1, 7)]),
            after: if rng.u8(0..4) == 0 { ms(rng, 1..9_000) } else { Duration::ZERO },
            instant: rng.bool(),
            expires: (rng.u8(0..12) == 0).then(|| ms(rng, 100..9_000)),
            gives_up: (rng.u8(0..20) == 0).then(|| ms(rng, 0..60)),
            crowd: if rng.u8(0..10) == 0 { rng.u32(2..CROWD) } else { 0 },
            retries: rng.u32(0..4),
            effect: rng.u8(0..4) < 2,
            acts,
        }
    }
}

impl Act {
    fn draw(rng: &mut Rng) -> Self {
        match rng.u8(0..25) {
            0..=6 => Self::Return(ms(rng, 0..300)),
            7..=10 => Self::Return(ms(rng, 500..6_000)),
            11..=14 => Self::Fail(ms(rng, 0..500)),
            15 => Self::FailForGood,
            16 => Self::Panic,
            17 => Self::Hang,
            18 => Self::Snooze(ms(rng, 0..4_000)),
            19 => Self::GiveUp,
            20 => Self::Block(ms(rng, 100..9_000)),
            21 | 22 => Self::Listen(ms(rng, 500..9_000), ms(rng, 0..1_500)),
            23 => Self::FailAsking(ms(rng, 0..4_000)),
            _ => Self::Return(Duration::ZERO),
        }
    }
}
