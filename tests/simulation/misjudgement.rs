//! What a node says that judges wrongly: the end of a run on its way to the storage, with a planted bug.

use std::time::Duration;

use evertask::{storage::Settlement, verdict::Verdict};

use crate::{bugs::Bug, handlers, truth::Truth};

impl Truth {
    pub(crate) fn misjudged(&self, mut settlement: Settlement) -> Settlement {
        let Some(task) = self.task(settlement.id) else { return settlement };
        if settlement.output_error.is_some() && self.has(Bug::EffectsGoWithTheOutput) {
            settlement.effects.clear();
        }
        let error = settlement.attempt.as_ref().and_then(|attempt| attempt.error.as_deref());
        let wrong = match settlement.verdict {
            Verdict::Fail if self.has(Bug::NeverIsRetried) && error == Some(handlers::FOR_GOOD) => {
                Verdict::Retry { after: Duration::from_secs(1) }
            }
            Verdict::Retry { .. } if self.has(Bug::GivesUpEarly) => Verdict::Fail,
            Verdict::Retry { .. } if self.has(Bug::CancelNobodyAsked) && task.lease % 2 == 0 => {
                Verdict::Cancel { reason: "cancelled while it ran".to_owned() }
            }
            Verdict::Retry { .. } if self.has(Bug::BackoffIgnored) => {
                Verdict::Retry { after: Duration::ZERO }
            }
            Verdict::Retry { .. } if self.has(Bug::BackoffDoesNotGrow) => {
                Verdict::Retry { after: handlers::backoff(&task.name).delay(task.id, 1) }
            }
            _ => return settlement,
        };
        settlement.verdict = wrong;
        settlement
    }
}
