//! What users have to put up with, in numbers. `DELIVERY.md` quotes them.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    ops::AddAssign,
    time::Duration,
};

use evertask::{TaskId, verdict::SUSPECT_AFTER};

use crate::inquest::{Inquest, Run};

/// What faults have cost.
#[derive(Debug, Clone, Default)]
pub(crate) struct Toll {
    pub(crate) tasks: usize,
    pub(crate) runs: usize,
    /// Runs that were cut off under way and whose tasks ran once more.
    pub(crate) cut_off: usize,
    /// Runs that had done their work and of which nothing was stored, and whose tasks ran once more: the duplicates.
    pub(crate) repeated: usize,
    /// Ends that came too late.
    pub(crate) refused: usize,
    /// Tasks of which the ends of two runs were taken as their completion.
    pub(crate) twice: usize,
    /// From the end of each run that completed its task to when its node had heard that it is stored, in order.
    windows: Vec<Duration>,
}

impl Toll {
    pub(crate) fn of(inquest: &Inquest) -> Self {
        let accepted = accepted(inquest);
        let mut last: HashMap<TaskId, Duration> = HashMap::new();
        for run in inquest.runs.values() {
            let last = last.entry(run.task).or_default();
            *last = run.begin.max(*last);
        }
        let again = |run: &Run| last[&run.task] > run.begin;
        let more = || inquest.runs.iter().filter(|(_, run)| again(run));
        let in_vain = |name: &str| !accepted.contains(name);
        Self {
            tasks: inquest.tasks.len(),
            runs: inquest.runs.len(),
            cut_off: more().filter(|(_, run)| !run.done).count(),
            repeated: more().filter(|(name, run)| run.done && in_vain(name)).count(),
            refused: inquest.refused,
            twice: inquest.completed.values().filter(|told| told.len() > 1).count(),
            windows: windows(inquest),
        }
    }

    /// What this many per cent of the windows do not exceed.
    pub(crate) fn window(&self, percent: usize) -> Duration {
        let last = self.windows.len().saturating_sub(1);
        self.windows.get(last.min(self.windows.len() * percent / 100)).copied().unwrap_or_default()
    }
}

impl AddAssign for Toll {
    fn add_assign(&mut self, other: Self) {
        self.tasks += other.tasks;
        self.runs += other.runs;
        self.cut_off += other.cut_off;
        self.repeated += other.repeated;
        self.refused += other.refused;
        self.twice += other.twice;
        self.windows.extend(other.windows);
        self.windows.sort_unstable();
    }
}

impl fmt::Display for Toll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} runs of {} tasks; {} cut off under way and run again, {} done and run again, {} stale ends refused, {} accepted \
             twice; from the end of a run until it was stored: p50 {:?}, p99 {:?}, at most {:?}",
            self.runs,
            self.tasks,
            self.cut_off,
            self.repeated,
            self.refused,
            self.twice,
            self.window(50),
            self.window(99),
            self.window(100),
        )
    }
}

/// The names of all runs of which the storage took the end.
fn accepted(inquest: &Inquest) -> HashSet<&str> {
    let ends = inquest.tasks.values().flat_map(|task| inquest.accepted(task));
    ends.map(|(name, _)| name).collect()
}

fn windows(inquest: &Inquest) -> Vec<Duration> {
    let window = |task| {
        let told = inquest.completed.get(&task)?.first()?;
        let (_, run) = inquest.accepted(&inquest.tasks[&task]).pop()?;
        told.checked_sub(run.end?)
    };
    let mut windows: Vec<_> = inquest.tasks.keys().copied().filter_map(window).collect();
    windows.sort_unstable();
    windows
}

/// What was left to do when the killing was over.
#[derive(Debug)]
pub(crate) struct Tail {
    /// When the last run ended of a task that was no suspect, and of one that was.
    ordinary: Duration,
    suspects: Duration,
    /// How many runs of suspects there were, and how long all of them took.
    runs: usize,
    took: Duration,
}

impl Tail {
    pub(crate) fn since(over: Duration, inquest: &Inquest) -> Self {
        let mut tail = Self {
            ordinary: Duration::ZERO,
            suspects: Duration::ZERO,
            runs: 0,
            took: Duration::ZERO,
        };
        for run in inquest.runs.values() {
            let Some(end) = run.end.filter(|end| *end > over) else { continue };
            let lost = inquest.tasks.get(&run.task).map_or(0, |task| task.losses);
            if lost < SUSPECT_AFTER {
                tail.ordinary = tail.ordinary.max(end - over);
            } else {
                tail.suspects = tail.suspects.max(end - over);
                tail.runs += 1;
                tail.took += end - run.begin.max(over);
            }
        }
        tail
    }
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ordinary, suspects, runs, took } = self;
        write!(
            f,
            "the last ordinary run ended {ordinary:.1?} after the last kill, the last of {runs} of suspects, which took {took:.1?} in \
             all, {suspects:.1?} after"
        )
    }
}
