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
    /// A fixed time comes up each time the wall shows it, and not only the first time.
    FoldFiredTwice,
    /// What is repeated by the clock on the wall stops for the hour that the wall shows again.
    FoldStopsRepetition,
    /// What a declaration replaced is not remembered, so that of an older program counts for new.
    OldReleaseUndoes,
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
    /// A task is seized without a new lease, which the old holder then settles.
    SeizedUnderTheOldLease,
}

impl Bug {
    /// Each, and within how many seeds it has to be found.
    pub(crate) const ALL: &[(Self, u64)] = &[
        (Self::NoFence, 50),
        (Self::AttemptIsTheFence, 50),
        (Self::SettledTwice, 150),
        (Self::AcknowledgedBeforeItIsStored, 50),
        (Self::WakeUpLost, 50),
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
        (Self::FoldFiredTwice, 50),
        (Self::FoldStopsRepetition, 50),
        (Self::OldReleaseUndoes, 50),
        (Self::StaleBeats, 50),
        (Self::DeadAreNotSeen, 50),
        (Self::PruneTakesTheLiving, 200),
        (Self::RetrySpendsNothing, 50),
        (Self::InterruptionSpends, 100),
        (Self::PlaceLost, 50),
        (Self::PriorityIgnored, 50),
        (Self::ClaimedEarly, 50),
        (Self::UnknownHandlersToo, 50),
        (Self::EffectsLost, 50),
        (Self::EffectsTwice, 300),
        (Self::ExpiryForgotten, 100),
        (Self::SeizedUnderTheOldLease, 100),
        (Self::DispatchedTwice, 100),
        (Self::SettledInWordOnly, 50),
        (Self::GhostsBeat, 50),
        (Self::OutputOfAnother, 50),
        (Self::LimitForgotten, 50),
        (Self::MoreThanAsked, 50),
        (Self::GivenTwice, 50),
        (Self::AcknowledgedAndForgotten, 50),
        (Self::CancelledWhileItRuns, 100),
        (Self::LeaseStartsAnew, 100),
    ];
}
