//! What one run came to.

use std::{fmt, time::Instant};

use crate::machine;

/// So many tasks in such a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    tasks: usize,
    seconds: f64,
    /// Of the processor.
    millis: f64,
    /// Tasks to a commit, where there are commits.
    pub(crate) batch: Option<f64>,
}

impl Rate {
    pub(crate) fn per_second(&self) -> f64 {
        self.tasks as f64 / self.seconds
    }

    pub(crate) fn commits(mut self, commits: u64) -> Self {
        self.batch = Some(self.tasks as f64 / commits as f64);
        self
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.millis * 1e3 / self.tasks as f64;
        write!(f, "{:.0}/s, {micros:.1} µs each", self.per_second())?;
        if let Some(batch) = self.batch {
            write!(f, ", {batch:.0} to a commit")?;
        }
        Ok(())
    }
}

/// A run under way.
#[derive(Debug)]
pub(crate) struct Watch {
    start: Instant,
    millis: f64,
}

impl Watch {
    pub(crate) fn start() -> Self {
        Self { millis: machine::processor_time(), start: Instant::now() }
    }

    /// To be called while all threads that worked are still there.
    pub(crate) fn stop(&self, tasks: usize) -> Rate {
        let seconds = self.start.elapsed().as_secs_f64();
        Rate { tasks, seconds, millis: machine::processor_time() - self.millis, batch: None }
    }
}

/// The run with the middle rate.
pub(crate) fn median(runs: &[Rate]) -> Rate {
    let mut runs = runs.to_vec();
    runs.sort_by(|a, b| a.per_second().total_cmp(&b.per_second()));
    runs[runs.len() / 2]
}
