//! The end of an attempt whose handler may have written in a transaction of its own: the completion is part of it.

use std::{sync::Arc, time::Duration};

use crate::{
    context::Context,
    failure::Failure,
    registry::Entry,
    runtime::{
        Shared,
        attempt::{cancelled, ending},
        settler::Ending,
    },
    seat::Ran,
    storage::{ClaimedTask, Completion},
    task::AttemptEnd,
    tx::OwnTransaction,
    verdict::Outcome,
};

/// What is left to do about an attempt that has ended.
#[derive(Debug)]
pub(crate) enum Left {
    /// It is to be settled.
    Settle(Ending),
    /// It has been, and is to be told.
    Tell(Ending),
}

/// Ends the transaction of an attempt that came to this, if there is one.
pub(crate) async fn end(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    task: &ClaimedTask,
    ctx: &Context,
    ran: Ran,
    took: Duration,
) -> Left {
    let Some(own) = ctx.take_transaction() else {
        return Left::Settle(ending(shared, entry, task, ctx, ran, took));
    };
    if ran.outcome != Outcome::Completed {
        roll_back(&*own, &ran.outcome).await;
        return Left::Settle(ending(shared, entry, task, ctx, ran, took));
    }
    let came_to = |outcome| {
        let ran = Ran { outcome, output: None, output_error: None };
        ending(shared, entry, task, ctx, ran, took)
    };
    let failed = |error| came_to(Outcome::Failed(Failure::from_error(error)));
    let complete = ending(shared, entry, task, ctx, ran, took);
    match own.complete(&complete.settlement).await {
        None => Left::Settle(complete),
        Some(Completion::Done) => Left::Tell(complete),
        // If it was no cancel, the task is no longer ours, and the storage refuses this too.
        Some(Completion::Refused) => Left::Settle(came_to(cancelled())),
        Some(Completion::Failed(error)) => Left::Settle(failed(&error)),
        Some(Completion::Unknown(error)) => {
            // If it was committed, the failure is refused, and then the completion is known.
            let mut failed = failed(&error);
            failed.committed = Some(complete.settlement.into());
            Left::Settle(failed)
        }
    }
}

async fn roll_back(own: &dyn OwnTransaction, outcome: &Outcome) {
    // Who was cut off may have been so in the middle of a statement.
    let returned = match outcome {
        Outcome::Failed(failure) => failure.end == AttemptEnd::Failed,
        _ => false,
    };
    own.roll_back(returned).await;
}
