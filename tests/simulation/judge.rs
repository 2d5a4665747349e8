//! What the end of a run means for its task, written down by hand: what nodes decide is held against this.

use evertask::{TaskInfo, verdict::Verdict};

use crate::{
    handlers,
    model::{End, RunSeen},
};

/// What is known of a run whose end is to be stored.
pub(crate) struct Case<'a> {
    /// The task as it was while it ran.
    pub(crate) task: &'a TaskInfo,
    /// `None` if the handler was never called under this lease.
    pub(crate) run: Option<&'a RunSeen>,
    /// How many tries it has after the first.
    pub(crate) retries: u32,
    /// The lease is that of a rescuer.
    pub(crate) seized: bool,
    /// The node that says so shuts down.
    pub(crate) closing: bool,
    /// No sign of life of it had arrived for its lease, so it stopped what others might run by then.
    pub(crate) cut_off: bool,
}

impl Case<'_> {
    /// Whether this is what was to be decided.
    pub(crate) fn allows(&self, verdict: &Verdict) -> Result<(), String> {
        let Some(run) = self.run else {
            let told = match verdict {
                Verdict::Release => !self.seized,
                Verdict::Rescue { .. } => self.seized,
                // Whether it was earned is another question.
                Verdict::Fail if self.seized => true,
                Verdict::Cancel { .. } => self.task.cancel_asked,
                Verdict::Interrupt => self.closing || self.cut_off,
                _ => false,
            };
            return if told { Ok(()) } else { Err(format!("{verdict:?}, and it never began")) };
        };
        let Some((at, end)) = run.end else { return Ok(()) };
        let wanted = match end {
            End::Returned => Verdict::Complete,
            End::Failed => self.failed(),
            End::FailedAsking(after) if self.has_tries_left() => Verdict::Retry { after },
            End::FailedAsking(_) | End::FailedForGood => Verdict::Fail,
            End::Snoozed(after) => Verdict::Snooze { after },
            End::GaveUp => Verdict::Cancel { reason: "planned".to_owned() },
            End::Dropped => {
                let timed_out = run.limit.is_some_and(|limit| at >= run.begin + limit);
                let told = match verdict {
                    Verdict::Cancel { .. } => self.task.cancel_asked,
                    Verdict::Interrupt => self.closing || self.cut_off,
                    _ => timed_out && *verdict == self.failed(),
                };
                let ran = at.saturating_sub(run.begin);
                let what = || format!("{verdict:?}, and it was dropped after {ran:?}");
                return if told { Ok(()) } else { Err(what()) };
            }
        };
        if *verdict == wanted {
            return Ok(());
        }
        let (attempt, of) = (self.task.attempt, self.retries + 1);
        Err(format!("{verdict:?}, and try {attempt} of {of} ended so: {end:?}; {wanted:?} it is"))
    }

    fn has_tries_left(&self) -> bool {
        self.task.attempt <= self.retries
    }

    /// A failure that asks for nothing.
    fn failed(&self) -> Verdict {
        let TaskInfo { id, attempt, name, .. } = self.task;
        let after = handlers::backoff(name).delay(*id, *attempt);
        if self.has_tries_left() { Verdict::Retry { after } } else { Verdict::Fail }
    }
}
