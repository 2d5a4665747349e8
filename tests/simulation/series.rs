//! The schedules of a plan: as often as that, by the clock on the wall, or as a handler declares.

use std::time::Duration;

use evertask::Overlap;
use fastrand::Rng;

use crate::{
    faults::Fault,
    plan::{Plan, Release, TICKS, TIDE, ms},
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

fn overlap(rng: &mut Rng) -> Overlap {
    use Overlap::{Allow, CancelPrevious, QueueOne, Skip};
    [Skip, Allow, CancelPrevious, QueueOne][rng.usize(0..4)]
}

impl SchedulePlan {
    /// One in elapsed time.
    pub(crate) fn draw(rng: &mut Rng, number: u32, places: usize) -> Self {
        Self {
            at: ms(rng, 0..15_000),
            by: rng.usize(0..=places),
            number: TICKS + number,
            rule: RulePlan::Elapsed {
                every: Duration::from_secs(rng.u64(1..5)),
                runs: rng.u64(1..7),
            },
            overlap: overlap(rng),
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
    /// The clocks on the wall go back, and schedules go by them; perhaps it is an hour later of a sudden.
    pub(crate) fn draw_fold(&mut self, rng: &mut Rng) {
        let every = Duration::from_secs(rng.u64(2..5));
        let repeated = RulePlan::Repeated { every, runs: rng.u64(8..16) };
        for (number, rule) in [(10, RulePlan::Fixed), (11, repeated)] {
            let (at, by) = (ms(rng, 0..12_000), rng.usize(0..=self.nodes.len()));
            let (number, overlap) = (TICKS + number, overlap(rng));
            self.schedules.push(SchedulePlan { at, by, number, rule, overlap });
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
        self.schedules.push(SchedulePlan { at, by: 0, number, rule, overlap: Overlap::Skip });
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
