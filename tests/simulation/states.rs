//! The table of states: how a stored task may come into being, change, and go, and what a settlement makes of it.

use std::time::{Duration, SystemTime};

use evertask::{Keep, TaskInfo, TaskState, storage::Settlement, verdict::Verdict};

use crate::{
    model::{By, number, spent},
    rules::Rule,
};

pub(crate) type Fine = Result<String, (Rule, String)>;

pub(crate) fn born(new: &TaskInfo, by: By<'_>) -> Fine {
    match by {
        By::Enqueue | By::Effect | By::Schedule if new.state == TaskState::Pending => {
            Ok(format!("stored: {} number {}", new.name, number(new)))
        }
        _ => Err((Rule::States, format!("by {by:?} it came into being as {:?}", new.state))),
    }
}

/// How long completed tasks are kept.
pub(crate) const KEPT: Duration = Duration::from_secs(20);

pub(crate) fn gone(old: &TaskInfo, by: By<'_>, clock: SystemTime) -> Fine {
    let kept = if old.state == TaskState::Completed { KEPT } else { 100 * KEPT };
    let over = old.finished.is_some_and(|at| at + kept <= clock);
    match by {
        By::Settle(Settlement { lease, verdict: Verdict::Complete, keep, .. })
            if keep.completed == Keep::No
                && (*lease, old.state, old.cancel_asked)
                    == (old.lease, TaskState::Running, false) =>
        {
            Ok("completed, and deleted".into())
        }
        By::Settle(Settlement { lease, .. }) if *lease != old.lease => {
            let how = format!("a settlement under lease {lease} deleted it at lease {}", old.lease);
            Err((Rule::NothingStale, how))
        }
        By::Prune if old.state.is_final() && over => Ok("deleted".into()),
        _ => Err((
            Rule::DeletedOnlyWhenOver,
            format!("it was {:?}, and is gone by {by:?}", old.state),
        )),
    }
}

pub(crate) fn went(
    old: &TaskInfo,
    new: &TaskInfo,
    by: By<'_>,
    clock: SystemTime,
    retries: u32,
) -> Fine {
    use TaskState::{Cancelled, Completed, Failed, Pending, Running};
    let states = format!("{:?} → {:?}", old.state, new.state);
    if old.state.is_final() && !matches!(by, By::Revive) {
        return Err((Rule::EndsOnce, format!("{states} by {by:?}")));
    }
    let raised = match by {
        By::Claim if new.state == Running => 1,
        By::Seize => 1,
        _ => 0,
    };
    if let By::Settle(settlement) = by
        && (settlement.lease != old.lease || old.state != Running)
    {
        let how = format!(
            "a settlement under lease {} changed it at lease {}",
            settlement.lease, old.lease
        );
        return Err((Rule::NothingStale, how));
    }
    if new.lease != old.lease + raised {
        return Err((Rule::LeaseGrows, format!("from {} to {} by {by:?}", old.lease, new.lease)));
    }
    let allowed = match by {
        By::Enqueue | By::Effect | By::Schedule => (old.state, new.state) == (Pending, Pending),
        By::Claim => matches!((old.state, new.state), (Pending, Running | Cancelled)),
        By::Settle(_) => old.state == Running && new.state != Running,
        By::Seize => (old.state, new.state) == (Running, Running),
        By::Cancel => matches!((old.state, new.state), (Pending, Cancelled) | (Running, Running)),
        By::Revive => new.state == Pending,
        By::Prune => (old.state, new.state) == (Pending, Cancelled),
        By::Renew => (old.state, new.state) == (Running, Running),
        By::Nobody => false,
    };
    if !allowed {
        return Err((Rule::States, format!("{states} by {by:?}")));
    }
    if let By::Claim = by {
        let expired = old.expires.is_some_and(|at| at <= clock);
        if new.state == Running && old.due > clock {
            let early = old.due.duration_since(clock).unwrap_or_default();
            return Err((Rule::NotBeforeItIsDue, format!("it was claimed {early:?} too early")));
        }
        if new.state == Running && expired {
            return Err((Rule::NotAfterItExpired, "it was claimed after it expired".into()));
        }
    }
    if let By::Settle(Settlement { verdict, .. }) = by {
        settled(old, new, verdict, retries)?;
        as_decided(old, new, verdict, clock)?;
    }
    let to = match new.state {
        Running => format!("lease {}, try {}", new.lease, new.attempt),
        Pending => match new.due.duration_since(clock) {
            Ok(wait) if !wait.is_zero() => format!("due in {wait:?}"),
            _ => "due".to_owned(),
        },
        Completed | Failed | Cancelled => new.error.clone().unwrap_or_default(),
        _ => String::new(),
    };
    let by = match by {
        By::Settle(settlement) => format!("settled as {:?}", settlement.verdict),
        other => format!("{other:?}"),
    };
    Ok(format!("{states}: {to} ({by})"))
}

fn settled(
    old: &TaskInfo,
    new: &TaskInfo,
    verdict: &Verdict,
    retries: u32,
) -> Result<(), (Rule, String)> {
    let spends = match verdict {
        Verdict::Complete | Verdict::Retry { .. } | Verdict::Fail | Verdict::Cancel { .. } => 1,
        _ if new.state == TaskState::Cancelled => 1,
        _ => 0,
    };
    let (before, after) = (spent(old), spent(new));
    // A loss that fails a task, and a cancel that wins over a loss, are the end of it: what it has spent says no more.
    if after != before + spends && !new.state.is_final() {
        return Err((
            Rule::SpentAsCounted,
            format!("{before} tries spent, and after {verdict:?} {after}"),
        ));
    }
    if new.state == TaskState::Pending && after > retries {
        return Err((
            Rule::RetriesLimit,
            format!("{after} tries spent of {}, and there is another", retries + 1),
        ));
    }
    let stays = matches!(verdict, Verdict::Release | Verdict::Interrupt | Verdict::Rescue { .. });
    if stays && new.state == TaskState::Pending && new.due != old.due {
        return Err((
            Rule::PlaceKept,
            format!("due {:?}, and after {verdict:?} {:?}", old.due, new.due),
        ));
    }
    Ok(())
}

/// What was decided is what is stored, and its delays are counted from now on.
fn as_decided(
    old: &TaskInfo,
    new: &TaskInfo,
    verdict: &Verdict,
    clock: SystemTime,
) -> Result<(), (Rule, String)> {
    let state = match verdict {
        _ if old.cancel_asked => TaskState::Cancelled,
        Verdict::Complete => TaskState::Completed,
        Verdict::Fail => TaskState::Failed,
        Verdict::Cancel { .. } => TaskState::Cancelled,
        _ => TaskState::Pending,
    };
    if new.state != state {
        return Err((Rule::StoredAsDecided, format!("{verdict:?} made it {:?}", new.state)));
    }
    let delay = match verdict {
        Verdict::Retry { after } | Verdict::Snooze { after } | Verdict::Unreadable { after } => {
            *after
        }
        _ => return Ok(()),
    };
    let due = clock + delay;
    if state == TaskState::Pending && micros(new.due).abs_diff(micros(due)) > 1 {
        return Err((Rule::StoredAsDecided, format!("{verdict:?} made it due {:?}", new.due)));
    }
    Ok(())
}

/// Storages keep instants to the microsecond.
pub(crate) fn micros(at: SystemTime) -> u128 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros()
}
