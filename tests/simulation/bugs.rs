//! Mistakes that a storage could make, to be made on purpose: each has to be found.
//!
//! All of them live in [`Truth`](crate::truth::Truth), between the nodes and the real memory storage, so that the library has no
//! switch for any.

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A settlement is taken whatever its lease.
    NoFence,
    /// A settlement is taken if the attempt is the current one, whatever its lease.
    AttemptIsTheFence,
    /// A settlement that is repeated makes the task pending once more.
    SettledTwice,
    /// What was acknowledged in the last moments of a process goes with it.
    AcknowledgedBeforeItIsStored,
    /// Nobody is woken by new work.
    WakeUpLost,
    /// Nobody hears that a task has ended.
    EndsAreNotTold,
    /// A dispatch that is said again, after the answer was lost, wakes nobody.
    SaidAgainInSilence,
    /// A claim looks only every few minutes.
    LooksRarely,
    /// Now and then a dispatch is refused, for no reason.
    RefusesForNothing,
    /// A cancel that was asked for is forgotten with the node that ran the task.
    CancelDiesWithItsNode,
    /// A node does not hear that what it runs is to be cancelled.
    CancelNotTold,
    /// A node does not hear that another one has what it runs.
    LossNotTold,
    /// What a claim got whose answer was lost stays where nobody looks.
    LostClaimIsKept,
    /// Two dispatches with one key at nearly the same time are two tasks.
    KeyRace,
    /// Whatever ran on a node that died is to blame.
    BystandersAreBlamed,
    /// A tick that another node has taken is taken again.
    TickTwice,
    /// A schedule goes on and the task of its tick is lost on the way, which nobody is told.
    TickWithoutTask,
    /// The same, and the answer is lost with it: the process dies between two writes that are to be one.
    TickTornApart,
    /// The next tick is counted from the moment of the last one's commit.
    TicksDrift,
    /// Whether the task of the tick before lives is not told.
    OverlapNotSeen,
    /// A settlement that is said again is refused.
    SettledAgainIsRefused,
    /// Of what is dispatched together the first half is stored.
    HalfOfACrowd,
    /// A claim gives more than there is room for in a queue.
    MoreThanAskedOfAQueue,
    /// A dispatch that is stored is told that there was no room.
    StoredAndRefused,
    /// A fixed time comes up each time the wall shows it, and not only the first time.
    FoldFiredTwice,
    /// What is repeated by the clock on the wall stops for the hour that the wall shows again.
    FoldStopsRepetition,
    /// What a declaration replaced is not remembered, so that of an older program counts for new.
    OldReleaseUndoes,
    /// A seizure takes from whoever it names, also from one that has given a sign of life since.
    LivingAreRobbed,
    /// What peers are doing is read from a copy that lags behind.
    StaleBeats,
    /// The dead count as living.
    DeadAreNotSeen,
    /// Deletion does not look at the state.
    PruneTakesTheLiving,
    /// A retry spends no try.
    RetrySpendsNothing,
    /// An interruption spends one.
    InterruptionSpends,
    /// What is given back goes to the end of the line.
    PlaceLost,
    /// Priorities are not stored.
    PriorityIgnored,
    /// The node's clock says what is due.
    ClaimedEarly,
    /// A claim does not look at the names of handlers.
    UnknownHandlersToo,
    /// Nor at the versions of their payloads.
    UnknownVersionsToo,
    /// What is to be stored on success is not.
    EffectsLost,
    /// What is to be stored on success is stored again when the settlement is repeated.
    EffectsTwice,
    /// A time to expire is not stored.
    ExpiryForgotten,
    /// The output of one run is stored as that of another.
    OutputOfAnother,
    /// What should fail for good is tried again.
    LimitForgotten,
    /// What a handler says is not worth another try has one.
    NeverIsRetried,
    /// A task fails although it has tries left.
    GivesUpEarly,
    /// Now and then a failed task ends as cancelled, and nobody asked for that.
    CancelNobodyAsked,
    /// The next try does not wait.
    BackoffIgnored,
    /// All tries wait as long as the first.
    BackoffDoesNotGrow,
    /// What asks to be called later is called at once.
    SnoozeIgnored,
    /// A delay is counted, but from the moment in which the task was due.
    DelayFromItsPlace,
    /// Two tasks get each other's payload.
    PayloadsMixedUp,
    /// Timeouts are not stored.
    TimeoutForgotten,
    /// Of a task that is replaced the payload stays.
    OldPayloadStays,
    /// A delay that was asked for is not stored.
    DueNow,
    /// A dispatch that has replaced a task is told that it has created one.
    ReplacedIsToldAsCreated,
    /// A dispatch that is said again is told that it has replaced what it has created.
    SaidAgainIsToldAsReplaced,
    /// Whoever is to stop has a moment for that, whether it asked to be told or not.
    GraceForAll,
    /// A task expires when half of its time is out.
    ExpiresEarly,
    /// A claim gives more than there is room for.
    MoreThanAsked,
    /// A claim gives what another node has.
    GivenTwice,
    /// Now and then a task is acknowledged and not stored.
    AcknowledgedAndForgotten,
    /// A running task that is cancelled ends at once, while it runs.
    CancelledWhileItRuns,
    /// The lease starts anew when a task is revived.
    LeaseStartsAnew,
    /// A dispatch that is tried again is another task.
    DispatchedTwice,
    /// Now and then a settlement is confirmed and not stored.
    SettledInWordOnly,
    /// The signs of life of the dead go on for a while.
    GhostsBeat,
    /// Now and then the storage panics.
    Panics,
    /// A task is seized without a new lease, which the old holder then settles.
    SeizedUnderTheOldLease,
    /// Who asks what it has seized itself, since the answer was lost, is told of nothing.
    LossForgotten,
    /// Or is told that nothing of it had begun.
    LossToldAsUnbegun,
    /// A node takes itself for in touch with the storage whatever does not arrive there.
    NeverOutOfTouch,
    /// A schedule that is paused comes up once more.
    TicksWhilePaused,
    /// A tick that was to be left out is made.
    SkippedTickIsMade,
    /// A schedule that was removed goes on.
    RemovedGoesOn,
    /// A run out of turn takes the place of the next tick.
    RunNowTakesTheNext,
    /// A schedule that is stored again counts its runs from none.
    StoredAgainCountsAnew,
    /// One that is paused goes on when it is stored again.
    StoredAgainResumes,
    /// Where several ticks are made up for, they come up again.
    MissedIsMadeTwice,
    /// Where several ticks are made up for, only the last is.
    MissedIsLost,
    /// What is a little late counts as missed.
    LateIsMissed,
    /// Where one task is made for all that was missed, it is that of the first tick.
    MissedOnceIsTheFirst,
    /// Of what was missed one more is made up for than was said.
    MissedIsMadeAllTheSame,
    /// Of those that come up while the task before lives the last one waits and not the first.
    TheNewestWaits,
    /// To cancel a task of a series pauses that.
    CancelTakesTheSeries,
    /// A task of a series that is revived counts as another run.
    RevivedIsARun,
    /// A series that is cancelled is only paused.
    CancelledIsPaused,
    /// One that is revived counts on from the runs that it had.
    RevivedCountsOn,
    /// Of the ticks that are to be made up for the first is left out.
    MadeUpWithAGap,
    /// A tick that is made up for once more is made again.
    MadeUpTwice,
    /// Ticks that are made up for count as runs.
    MadeUpIsARun,
    /// One end that cannot be stored keeps from it all that come with it.
    OneSpoilsAll,
    /// Of an output that cannot be stored nothing is said.
    LostOutputIsNotTold,
    /// Nor is anything stored then of what was to be on success.
    EffectsGoWithTheOutput,
    /// One tick that cannot be stored keeps from it all that came up with it.
    OneTickSetsAllAside,
    /// A process that is stopped goes on.
    StandsInWordOnly,
}

impl Bug {
    /// Each, and within how many seeds it has to be found.
    pub(crate) const ALL: &[(Self, u64)] = &[
        (Self::NoFence, 50),
        (Self::AttemptIsTheFence, 50),
        (Self::SettledTwice, 150),
        (Self::AcknowledgedBeforeItIsStored, 50),
        (Self::WakeUpLost, 50),
        (Self::EndsAreNotTold, 50),
        (Self::SaidAgainInSilence, 50),
        (Self::LooksRarely, 50),
        (Self::RefusesForNothing, 100),
        (Self::CancelDiesWithItsNode, 300),
        (Self::CancelNotTold, 50),
        (Self::LossNotTold, 600),
        (Self::LostClaimIsKept, 150),
        (Self::KeyRace, 50),
        (Self::BystandersAreBlamed, 100),
        (Self::TickTwice, 100),
        (Self::TickWithoutTask, 50),
        (Self::TickTornApart, 50),
        (Self::TicksDrift, 50),
        (Self::OverlapNotSeen, 100),
        (Self::SettledAgainIsRefused, 100),
        (Self::HalfOfACrowd, 50),
        (Self::MoreThanAskedOfAQueue, 100),
        (Self::StoredAndRefused, 50),
        (Self::FoldFiredTwice, 50),
        (Self::FoldStopsRepetition, 50),
        (Self::OldReleaseUndoes, 50),
        (Self::StaleBeats, 50),
        (Self::LivingAreRobbed, 600),
        (Self::DeadAreNotSeen, 50),
        (Self::PruneTakesTheLiving, 200),
        (Self::RetrySpendsNothing, 50),
        (Self::InterruptionSpends, 100),
        (Self::PlaceLost, 50),
        (Self::PriorityIgnored, 50),
        (Self::ClaimedEarly, 50),
        (Self::UnknownHandlersToo, 50),
        (Self::UnknownVersionsToo, 50),
        (Self::EffectsLost, 50),
        (Self::EffectsTwice, 300),
        (Self::ExpiryForgotten, 100),
        (Self::SeizedUnderTheOldLease, 100),
        (Self::DispatchedTwice, 100),
        (Self::SettledInWordOnly, 50),
        (Self::GhostsBeat, 50),
        (Self::Panics, 50),
        (Self::OutputOfAnother, 50),
        (Self::LimitForgotten, 50),
        (Self::NeverIsRetried, 50),
        (Self::GivesUpEarly, 50),
        (Self::CancelNobodyAsked, 50),
        (Self::BackoffIgnored, 50),
        (Self::BackoffDoesNotGrow, 50),
        (Self::SnoozeIgnored, 50),
        (Self::DelayFromItsPlace, 50),
        (Self::PayloadsMixedUp, 50),
        (Self::TimeoutForgotten, 50),
        (Self::OldPayloadStays, 100),
        (Self::DueNow, 50),
        (Self::ReplacedIsToldAsCreated, 100),
        (Self::SaidAgainIsToldAsReplaced, 100),
        (Self::GraceForAll, 300),
        (Self::ExpiresEarly, 100),
        (Self::MoreThanAsked, 50),
        (Self::GivenTwice, 50),
        (Self::AcknowledgedAndForgotten, 50),
        (Self::CancelledWhileItRuns, 100),
        (Self::LeaseStartsAnew, 100),
        (Self::LossForgotten, 50),
        (Self::LossToldAsUnbegun, 50),
        (Self::NeverOutOfTouch, 50),
        (Self::TicksWhilePaused, 100),
        (Self::SkippedTickIsMade, 100),
        (Self::RemovedGoesOn, 100),
        (Self::RunNowTakesTheNext, 100),
        (Self::StoredAgainCountsAnew, 100),
        (Self::StoredAgainResumes, 200),
        (Self::MissedIsMadeTwice, 100),
        (Self::MissedIsLost, 100),
        (Self::LateIsMissed, 50),
        (Self::MissedOnceIsTheFirst, 50),
        (Self::MissedIsMadeAllTheSame, 100),
        (Self::TheNewestWaits, 50),
        (Self::CancelTakesTheSeries, 50),
        (Self::RevivedIsARun, 50),
        (Self::CancelledIsPaused, 50),
        (Self::RevivedCountsOn, 50),
        (Self::MadeUpWithAGap, 50),
        (Self::MadeUpTwice, 200),
        (Self::MadeUpIsARun, 50),
        (Self::OneSpoilsAll, 50),
        (Self::LostOutputIsNotTold, 50),
        (Self::EffectsGoWithTheOutput, 50),
        (Self::OneTickSetsAllAside, 50),
        (Self::StandsInWordOnly, 50),
    ];
}
