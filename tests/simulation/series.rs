//! The schedules of a plan: as often as that, by the clock on the wall, or as a handler declares.

use std::time::Duration;

use evertask::{Missed, Overlap};
use fastrand::Rng;

use crate::{
    faults::Fault,
    ledger::Ask,
    plan::{Act, Plan, Release, TICKS, TIDE, Wish, ms, weighted},
    tides,
};

/// A schedule somebody will store.
#[derive(Debug, Clone)]
pub(crate) struct SchedulePlan {
    pub(crate) at: Duration,
    pub(crate) by: usize,
    pub(crate) number: u32,
    pub(crate) rule: RulePlan,
    pub(crate) overlap: Overlap,
    pub(crate) missed: Missed,
    /// What the runs of each of its tasks do, one after the other; the last one is repeated.
    pub(crate) acts: Vec<Act>,
}

/// When a schedule comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RulePlan {
    /// As often as that, in elapsed time.
    Elapsed { every: Duration, runs: u64 },
    /// As often as that, by the clock on the wall.
    Repeated { every: Duration, runs: u64 },
    /// At fixed times of day, by the clock on the wall.
    Fixed,
    /// As a handler says that each program has, and each release otherwise.
    Declared,
}

/// Something somebody asks for about a schedule.
#[derive(Debug, Clone)]
pub(crate) struct SeriesWish {
    pub(crate) at: Duration,
    pub(crate) by: usize,
    pub(crate) number: u32,
    pub(crate) what: Ask,
    /// How often it is to come up, if it is stored again.
    pub(crate) every: Duration,
}

fn overlap(rng: &mut Rng) -> Overlap {
    use Overlap::{Allow, CancelPrevious, QueueOne, Skip};
    [Skip, Allow, CancelPrevious, QueueOne][rng.usize(0..4)]
}

/// Most have nothing to do; others take their time, so that the next tick comes up meanwhile, or somebody can cancel them.
fn acts(rng: &mut Rng) -> Vec<Act> {
    let works = Act::Return(ms(rng, 500..6_000));
    let listens = Act::Listen(ms(rng, 500..6_000), ms(rng, 0..1_500));
    let fails = Act::Fail(ms(rng, 0..500));
    match weighted(rng, &[(4, None), (3, Some(works)), (2, Some(listens)), (1, Some(fails))]) {
        None => Vec::new(),
        Some(Act::Fail(works)) => vec![Act::Fail(works), Act::Return(works)],
        Some(act) => vec![act],
    }
}

impl SchedulePlan {
    /// One in elapsed time.
    pub(crate) fn draw(rng: &mut Rng, number: u32, places: usize) -> Self {
        let overlap = overlap(rng);
        let all = Missed::All(Duration::from_secs(rng.u64(30..200)));
        let missed = match (overlap, rng.u8(0..6)) {
            (_, 0) => Missed::Once,
            (Overlap::Allow | Overlap::QueueOne, 1 | 2) => all,
            _ => Missed::Skip,
        };
        Self {
            at: ms(rng, 0..15_000),
            by: rng.usize(0..=places),
            number: TICKS + number,
            rule: RulePlan::Elapsed {
                every: Duration::from_secs(rng.u64(1..5)),
                runs: rng.u64(1..7),
            },
            overlap,
            missed,
            acts: Vec::new(),
        }
    }

    /// Under which it is stored.
    pub(crate) fn key(&self) -> String {
        match self.rule {
            RulePlan::Elapsed { .. } | RulePlan::Repeated { .. } => {
                format!("series {}", self.number)
            }
            RulePlan::Fixed => format!("wall {}", self.number),
            RulePlan::Declared => tides::NAME.to_owned(),
        }
    }
}

impl Plan {
    /// People have their wishes about the schedules there are; and for some it is later of a sudden, so that ticks were missed.
    pub(crate) fn draw_series_wishes(&mut self, rng: &mut Rng) {
        use Ask::{Pause, Remove, Resume, RunNow, SkipNext, Store};
        let asks = [(3, Pause), (3, Resume), (2, Store), (2, SkipNext), (2, RunNow), (1, Remove)];
        for schedule in &self.schedules {
            for _ in 0..weighted(rng, &[(3, 0), (2, 2), (2, 5)]) {
                let at = schedule.at + ms(rng, 0..14_000);
                let (by, what) = (rng.usize(0..=self.nodes.len()), weighted(rng, &asks));
                let (number, every) = (schedule.number, Duration::from_secs(rng.u64(1..5)));
                self.series_wishes.push(SeriesWish { at, by, number, what, every });
            }
            if schedule.missed != Missed::Skip && rng.bool() {
                let (at, by) = (schedule.at + ms(rng, 1_000..9_000), rng.i64(61_000..300_000));
                self.faults.push(Fault::Jump { at, by });
            }
        }
    }

    /// Tasks of schedules have something to do, and people cancel and retry them; or they end a schedule, let it begin anew, let it make
    /// up for what has passed.
    pub(crate) fn draw_more_of_series(&mut self, rng: &mut Rng) {
        let elapsed = |rule| matches!(rule, RulePlan::Elapsed { .. });
        for schedule in self.schedules.iter_mut().filter(|schedule| elapsed(schedule.rule)) {
            schedule.acts = acts(rng);
            for _ in 0..weighted(rng, &[(2, 0), (2, 2), (1, 5)]) {
                let at = schedule.at + ms(rng, 500..14_000);
                let (by, task) = (rng.usize(0..=self.nodes.len()), schedule.number);
                self.wishes.push(Wish { at, by, task, retry: rng.bool() });
            }
            for _ in 0..weighted(rng, &[(3, 0), (2, 2), (2, 4)]) {
                let made_up = Ask::Backfill(ms(rng, 0..20_000), ms(rng, 0..12_000));
                let asks = [(2, Ask::Cancel), (3, Ask::Revive), (2, made_up)];
                let at = schedule.at + ms(rng, 500..14_000);
                let (by, what) = (rng.usize(0..=self.nodes.len()), weighted(rng, &asks));
                let (number, every) = (schedule.number, Duration::ZERO);
                self.series_wishes.push(SeriesWish { at, by, number, what, every });
            }
        }
    }

    /// The clocks on the wall go back, and schedules go by them; perhaps it is an hour later of a sudden.
    pub(crate) fn draw_fold(&mut self, rng: &mut Rng) {
        let every = Duration::from_secs(rng.u64(2..5));
        let repeated = RulePlan::Repeated { every, runs: rng.u64(8..16) };
        for (number, rule) in [(10, RulePlan::Fixed), (11, repeated)] {
            let (at, by) = (ms(rng, 0..12_000), rng.usize(0..=self.nodes.len()));
            let (number, overlap) = (TICKS + number, overlap(rng));
            let missed = Missed::Skip;
            let acts = Vec::new();
            self.schedules.push(SchedulePlan { at, by, number, rule, overlap, missed, acts });
        }
        if rng.bool() {
            self.faults.push(Fault::Jump { at: ms(rng, 5_000..25_000), by: 3_595_000 });
        }
    }

    /// A handler declares when it runs, and a release with another rule takes the place of the older one, node by node; an older
    /// one starts once more meanwhile.
    pub(crate) fn draw_rollout(&mut self, rng: &mut Rng) {
        let (rule, number) = (RulePlan::Declared, TIDE);
        let at = Duration::ZERO;
        let (overlap, missed) = (Overlap::Skip, Missed::Skip);
        let acts = Vec::new();
        self.schedules.push(SchedulePlan { at, by: 0, number, rule, overlap, missed, acts });
        if rng.bool() {
            let every = Duration::ZERO;
            for (what, at) in
                [(Ask::Pause, ms(rng, 0..8_000)), (Ask::Resume, ms(rng, 8_000..25_000))]
            {
                self.series_wishes.push(SeriesWish { at, by: 0, number, what, every });
            }
        }
        let mut at = ms(rng, 500..6_000);
        for place in 0..self.nodes.len() {
            self.nodes[place].1 = Release::Second;
            self.faults.push(Fault::Deploy { at, place, release: Release::Third });
            at += ms(rng, 1_000..6_000);
            let (place, back) = (self.nodes.len() - 1, ms(rng, 100..2_000));
            self.faults.push(Fault::Crash { at, place, back });
        }
    }
}
