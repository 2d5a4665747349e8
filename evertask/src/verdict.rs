//! The pure heart: what an attempt's outcome means for its task.
//!
//! Values in, a value out: no clock, no database, no executor. It speaks of delays, never of instants, so that the
//! storage can add them to its own clock.

use std::time::Duration;

use crate::{
    failure::{Failure, Retry},
    policy::Backoff,
    task::{AttemptEnd, TaskId},
};

/// A payload that cannot be read is given this many chances: a newer program may be on its way.
pub const UNREADABLE_CHANCES: u32 = 5;
/// A task is a suspect once a node died this often while it ran.
pub const SUSPECT_AFTER: u32 = 2;

/// How an attempt ended, as the code that ran it saw it.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The handler returned its output.
    Completed,
    /// The handler returned an error or panicked, or ran out of time.
    Failed(Failure),
    /// We cancelled it, because someone asked.
    Cancelled {
        /// Who or why.
        reason: String,
    },
    /// The node is shutting down.
    Interrupted,
    /// It was claimed but never begun, and is given back.
    Unstarted,
    /// The payload could not be read.
    Unreadable(Failure),
    /// Its node died or lost its lease; said by the node that rescues it.
    Lost {
        /// The handler had begun.
        started: bool,
        /// The task was a suspect, and nothing else ran on that node.
        alone: bool,
    },
}

/// By what rule an outcome is judged: the settings of dispatch, handler, queue and runtime, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Attempts after the first.
    pub retries: u32,
    /// How long to wait between attempts.
    pub backoff: Backoff,
    /// How often a suspect may be lost alone before it fails.
    pub max_losses: u32,
}

/// What happened to the task before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// The task.
    pub id: TaskId,
    /// Which try this one is: 1, 2, …
    pub attempt: u32,
    /// How often its payload could not be read before.
    pub unreadable: u32,
    /// How often a suspect was lost while alone, before.
    pub lost_alone: u32,
}

/// What is to become of the task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Running → completed.
    Complete,
    /// Running → pending, due after the delay; the attempt is spent.
    Retry {
        /// How long to wait.
        after: Duration,
    },
    /// Running → pending, due after the delay; the attempt is not spent.
    Snooze {
        /// How long to wait.
        after: Duration,
    },
    /// Running → failed.
    Fail,
    /// Running → cancelled.
    Cancel {
        /// Who or why.
        reason: String,
    },
    /// Running → pending in its old place; nothing is counted.
    Release,
    /// Running → pending in its old place; the attempt is written down but not spent.
    Interrupt,
    /// Running → pending in its old place; the attempt is not spent, the loss is counted if it had begun.
    Rescue {
        /// The handler had begun, so the loss counts.
        started: bool,
        /// It counts towards the limit as well.
        alone: bool,
    },
    /// Running → pending, due after the delay; a counter of its own goes up.
    Unreadable {
        /// How long to wait.
        after: Duration,
    },
}

/// What an outcome means for the task.
///
/// A handler's error asks for a retry unless it says otherwise ([`TaskError`](crate::TaskError)) or `retry_if` said no;
/// interruption and loss are nobody's fault and spend nothing.
#[must_use]
pub fn judge(outcome: &Outcome, policy: &Policy, history: &History) -> Verdict {
    match outcome {
        Outcome::Completed => Verdict::Complete,
        Outcome::Cancelled { reason } => Verdict::Cancel { reason: reason.clone() },
        Outcome::Interrupted => Verdict::Interrupt,
        Outcome::Unstarted => Verdict::Release,
        Outcome::Unreadable(_) if history.unreadable + 1 >= UNREADABLE_CHANCES => Verdict::Fail,
        Outcome::Unreadable(_) => {
            Verdict::Unreadable { after: Duration::from_secs(60) * (history.unreadable + 1) }
        }
        Outcome::Lost { started: true, alone: true }
            if history.lost_alone + 1 >= policy.max_losses =>
        {
            Verdict::Fail
        }
        Outcome::Lost { started, alone } => {
            Verdict::Rescue { started: *started, alone: *started && *alone }
        }
        Outcome::Failed(failure) => {
            let left = history.attempt <= policy.retries;
            match &failure.retry {
                Retry::Snooze(after) => Verdict::Snooze { after: *after },
                Retry::Cancel(reason) => Verdict::Cancel { reason: reason.clone() },
                Retry::Never => Verdict::Fail,
                _ if !left => Verdict::Fail,
                Retry::After(after) => Verdict::Retry { after: *after },
                Retry::Policy => {
                    Verdict::Retry { after: policy.backoff.delay(history.id, history.attempt) }
                }
            }
        }
    }
}

/// How the attempt is written down; `None` where nothing is: it completed, or never began.
#[must_use]
pub fn attempt_end(outcome: &Outcome) -> Option<AttemptEnd> {
    match outcome {
        Outcome::Completed | Outcome::Unstarted => None,
        Outcome::Failed(failure) => Some(match failure.retry {
            Retry::Snooze(_) => AttemptEnd::Snoozed,
            Retry::Cancel(_) => AttemptEnd::Cancelled,
            Retry::Never | Retry::After(_) | Retry::Policy => failure.end,
        }),
        Outcome::Cancelled { .. } => Some(AttemptEnd::Cancelled),
        Outcome::Interrupted => Some(AttemptEnd::Interrupted),
        Outcome::Unreadable(_) => Some(AttemptEnd::Unreadable),
        // Whether a task taken ahead had begun when its node died nobody can say; so it is written down.
        Outcome::Lost { .. } => Some(AttemptEnd::Lost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(attempt: u32) -> History {
        History { id: TaskId::new(), attempt, unreadable: 0, lost_alone: 0 }
    }

    fn policy(retries: u32) -> Policy {
        Policy {
            retries,
            backoff: Backoff::fixed(Duration::from_secs(2)).without_jitter(),
            max_losses: 5,
        }
    }

    fn failed(retry: Retry) -> Outcome {
        Outcome::Failed(Failure { retry, ..Failure::new(AttemptEnd::Failed, "no") })
    }

    #[test]
    fn retries_counts_the_attempts_after_the_first() {
        let outcome = failed(Retry::Policy);
        let after = Duration::from_secs(2);
        assert_eq!(judge(&outcome, &policy(0), &history(1)), Verdict::Fail);
        assert_eq!(judge(&outcome, &policy(2), &history(1)), Verdict::Retry { after });
        assert_eq!(judge(&outcome, &policy(2), &history(2)), Verdict::Retry { after });
        assert_eq!(judge(&outcome, &policy(2), &history(3)), Verdict::Fail);
    }

    #[test]
    fn what_the_error_asks_for_is_done() {
        let after = Duration::from_secs(7);
        let judged = |retry, attempt| judge(&failed(retry), &policy(3), &history(attempt));
        assert_eq!(judged(Retry::Never, 1), Verdict::Fail);
        assert_eq!(judged(Retry::After(after), 1), Verdict::Retry { after });
        assert_eq!(
            judged(Retry::After(after), 4),
            Verdict::Fail,
            "a wish does not make more attempts"
        );
        assert_eq!(
            judged(Retry::Snooze(after), 4),
            Verdict::Snooze { after },
            "and a snooze needs none"
        );
        assert_eq!(judged(Retry::Cancel("x".into()), 1), Verdict::Cancel { reason: "x".into() });
    }

    #[test]
    fn interruption_and_loss_spend_nothing() {
        let last = history(4);
        assert_eq!(judge(&Outcome::Interrupted, &policy(3), &last), Verdict::Interrupt);
        assert_eq!(judge(&Outcome::Unstarted, &policy(3), &last), Verdict::Release);
        let lost = |started, alone| judge(&Outcome::Lost { started, alone }, &policy(3), &last);
        assert_eq!(lost(true, false), Verdict::Rescue { started: true, alone: false });
        assert_eq!(lost(false, false), Verdict::Rescue { started: false, alone: false });
    }

    #[test]
    fn only_a_suspect_lost_alone_again_and_again_fails() {
        let judged = |started, alone, lost_alone| {
            let history = History { lost_alone, ..history(1) };
            judge(&Outcome::Lost { started, alone }, &policy(3), &history)
        };
        assert_eq!(judged(true, true, 3), Verdict::Rescue { started: true, alone: true });
        assert_eq!(judged(true, true, 4), Verdict::Fail);
        assert_eq!(judged(true, false, 99), Verdict::Rescue { started: true, alone: false });
        assert_eq!(judged(false, true, 99), Verdict::Rescue { started: false, alone: false });
    }

    #[test]
    fn an_unreadable_payload_has_five_chances_each_further_apart() {
        let outcome = Outcome::Unreadable(Failure::new(AttemptEnd::Unreadable, "at `x`"));
        let judged =
            |unreadable| judge(&outcome, &policy(0), &History { unreadable, ..history(1) });
        let minutes = |n: u64| Verdict::Unreadable { after: Duration::from_secs(60 * n) };
        let verdicts = [0, 1, 2, 3, 4].map(judged);
        assert_eq!(verdicts, [minutes(1), minutes(2), minutes(3), minutes(4), Verdict::Fail]);
    }

    #[test]
    fn every_end_but_a_completion_and_a_mere_hand_back_is_written_down() {
        assert_eq!(attempt_end(&Outcome::Completed), None);
        assert_eq!(attempt_end(&Outcome::Unstarted), None);
        assert_eq!(
            attempt_end(&Outcome::Lost { started: false, alone: false }),
            Some(AttemptEnd::Lost)
        );
        assert_eq!(attempt_end(&failed(Retry::Policy)), Some(AttemptEnd::Failed));
        assert_eq!(attempt_end(&failed(Retry::Snooze(Duration::ZERO))), Some(AttemptEnd::Snoozed));
    }
}
