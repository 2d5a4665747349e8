//! What has to hold, whatever goes wrong: the written list. Numbers are those of the promises in the documentation.

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    Acknowledged,
    DispatchedOnce,
    ToldWhatHappened,
    StoredAsAsked,
    AllOrNone,
    EndsSomeDay,
    EndsOnce,
    LeaseGrows,
    NothingStale,
    OneAtATime,
    NeverTwoAtOnce,
    OneRunPerLease,
    DecidedByItsEnd,
    StoredAsDecided,
    GivenAsStored,
    SettledAgain,
    UnstorableAlone,
    OutputOfItsRun,
    EffectsWithCompletion,
    OnlyTheDeadAreRobbed,
    RescuedSoon,
    NotHeldInVain,
    LossIsTold,
    StoredAfterItEnded,
    StopsWhenTold,
    StopsInTime,
    StandsStill,
    OutOfTouchNothingRuns,
    CancelWins,
    SpentAsCounted,
    RetriesLimit,
    PlaceKept,
    QuarantineIsEarned,
    SuspectsAlone,
    TickOnce,
    TickInTime,
    OneOfASeries,
    SeriesAsAsked,
    NoTickWhilePaused,
    RunsAreCounted,
    NoTickIsLost,
    MissedAsSaid,
    FoldOnce,
    NewerRuleStands,
    NotBeforeItIsDue,
    NotAfterItExpired,
    ExpiresInTime,
    InOrder,
    KnownHandlers,
    KeysAreUnique,
    States,
    SlotsAreKept,
    ShutDownIsShutDown,
    DeletedOnlyWhenOver,
    Prompt,
    OwnAtOnce,
    FoundSomeTime,
    AsInAQuietWorld,
    ToldWhenStored,
    NothingPanics,
}

impl Rule {
    /// Where it comes from, and what it says.
    pub(crate) fn says(self) -> (&'static str, &'static str) {
        match self {
            Self::Acknowledged => ("1", "a dispatch that was acknowledged is stored"),
            Self::DispatchedOnce => ("1", "a dispatch is one task, however often it was tried"),
            Self::ToldWhatHappened => (
                "1",
                "a dispatch is told what it did: created a task, replaced a pending one, left a running one as it is",
            ),
            Self::StoredAsAsked => (
                "§4",
                "what is created or replaced is as it was asked for: payload, queue, due time, no try spent",
            ),
            Self::AllOrNone => ("1", "of what is dispatched together all is stored, or nothing"),
            Self::EndsSomeDay => ("2", "a stored task ends within ten minutes of peace"),
            Self::EndsOnce => ("2", "what has ended stays as it ended, unless it is revived"),
            Self::LeaseGrows => {
                ("3", "each claim and each seizure raises the lease by one, nothing else does")
            }
            Self::NothingStale => {
                ("3", "a write under a lease that is not the current one changes nothing")
            }
            Self::OneAtATime => ("3", "runs whose ends were accepted do not overlap"),
            Self::NeverTwoAtOnce => (
                "3",
                "a run begins when the one before has ended, unless the process of that stands still or is blocked, or it has its grace",
            ),
            Self::OneRunPerLease => ("3", "a lease is given to one node and begins one run"),
            Self::DecidedByItsEnd => (
                "§6",
                "what is decided follows from how the run ended, what was asked, and how many tries are left",
            ),
            Self::StoredAsDecided => {
                ("§6", "what was decided is what is stored, due after exactly its delay")
            }
            Self::GivenAsStored => ("§6", "a run gets the payload and the try that are stored"),
            Self::SettledAgain => (
                "§6",
                "a settlement that is said again is told that it was stored, not refused, unless the task was revived since",
            ),
            Self::UnstorableAlone => (
                "12",
                "what cannot be stored of an end is left out of it, and that is said; a series whose tasks cannot be is set aside; no other suffers",
            ),
            Self::OutputOfItsRun => {
                ("3", "a completed task has the output of the run that completed it")
            }
            Self::EffectsWithCompletion => (
                "§6",
                "what a run stores on success is stored if and only if it completed its task, once",
            ),
            Self::OnlyTheDeadAreRobbed => (
                "4",
                "tasks are taken only from a node that left or gave no sign of life for a lease",
            ),
            Self::RescuedSoon => (
                "4",
                "what a dead node held is taken over within a lease and a look, and judged at once, if another lives",
            ),
            Self::NotHeldInVain => (
                "2",
                "what a node holds it runs; what has ended is stored, and what was given out begins or is given back, in seconds",
            ),
            Self::LossIsTold => (
                "6",
                "a loss is told as begun if the attempt had begun, whoever takes it over, and however often that is said",
            ),
            Self::StoredAfterItEnded => ("5", "the end of a run is stored only after it has ended"),
            Self::StopsWhenTold => (
                "5",
                "a run whose node has heard that it is cancelled or lost ends at once, or within the grace if it asked to be told",
            ),
            Self::StopsInTime => ("5", "no run outlasts its timeout"),
            Self::StandsStill => (
                "§6",
                "in a process that stands still nothing begins or ends, whatever timers run out",
            ),
            Self::OutOfTouchNothingRuns => (
                "3",
                "once no sign of life of a node has arrived for its lease, what it runs does nothing more, but what asked to be told has its grace",
            ),
            Self::CancelWins => {
                ("5", "once a cancel was accepted the task ends as cancelled, or was revived")
            }
            Self::SpentAsCounted => {
                ("6", "an end by the handler spends one try; interruption, loss, snooze spend none")
            }
            Self::RetriesLimit => ("6", "no more tries are spent than were given"),
            Self::PlaceKept => ("6", "what was interrupted, given back or rescued keeps its place"),
            Self::QuarantineIsEarned => (
                "6",
                "a task fails for losses only after it was lost twice, and then `max_losses` times alone",
            ),
            Self::SuspectsAlone => ("6", "a node runs one suspect at a time"),
            Self::TickOnce => ("7", "an instant of a schedule makes one task, and that is stored"),
            Self::TickInTime => ("7", "the ticks of a series lie whole intervals apart"),
            Self::OneOfASeries => (
                "7",
                "a series that is not to overlap makes no task while the one it made last lives",
            ),
            Self::SeriesAsAsked => (
                "7",
                "to pause, resume, skip, run now, store again, make up for, cancel, revive or remove a series does that and nothing else to its place and its runs; what is done to its tasks does nothing to it",
            ),
            Self::NoTickWhilePaused => {
                ("7", "a series that is paused or over makes no task by itself")
            }
            Self::RunsAreCounted => (
                "7",
                "the runs of a series are the tasks it has made, and no more than it was to make",
            ),
            Self::NoTickIsLost => (
                "7",
                "each tick that came up makes a task, waits for the one before, or is counted as left out",
            ),
            Self::MissedAsSaid => (
                "7",
                "which ticks make tasks, which one waits and how many are left out is as was said of missed ones and of overlap",
            ),
            Self::FoldOnce => (
                "7",
                "a fixed time that the wall shows twice makes a tick the first time, and no other does",
            ),
            Self::NewerRuleStands => (
                "11",
                "what a newer release declares is not undone by an older one, however late that starts",
            ),
            Self::NotBeforeItIsDue => {
                ("§6", "no task is given out before the storage's clock says that it is due")
            }
            Self::NotAfterItExpired => (
                "§6",
                "no task is given out after it expired; one that a node was given before may still begin",
            ),
            Self::ExpiresInTime => ("§6", "a task expires when its time is out, and not before"),
            Self::InOrder => (
                "§6",
                "of what is due in a queue, that of the highest priority goes first, then the longest due",
            ),
            Self::KnownHandlers => (
                "11",
                "a task is given only to a node that knows its handler, and the version of its payload",
            ),
            Self::KeysAreUnique => ("§4", "no two live tasks of a handler have one key"),
            Self::States => ("§6", "a task goes from state to state only as the table says"),
            Self::SlotsAreKept => {
                ("12", "a node runs no more at a time than it has slots, in all and in a queue")
            }
            Self::ShutDownIsShutDown => (
                "6",
                "nothing begins on a node that shuts down, nothing runs or is held once that has returned",
            ),
            Self::DeletedOnlyWhenOver => {
                ("§6", "only what has ended is deleted, and not before its time is out")
            }
            Self::NothingPanics => ("10", "nothing panics but handlers that are to"),
            Self::ToldWhenStored => ("10", "no end of a task is announced before it is stored"),
            Self::Prompt => (
                "8",
                "in peace, a task is begun within two seconds, a running one stops as soon after a cancel, who waits for its end is told as soon",
            ),
            Self::OwnAtOnce => (
                "8",
                "a node that has nothing to do begins what it dispatched within two seconds, however often it had to say it",
            ),
            Self::FoundSomeTime => (
                "8",
                "a due task whose wake-up was lost is found by the safety look of a node that has nothing to do",
            ),
            Self::AsInAQuietWorld => (
                "2",
                "where nothing goes wrong, each task has the runs, the end and the output that follow from what was asked",
            ),
        }
    }
}

/// One of them does not hold.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    pub(crate) rule: Rule,
    pub(crate) how: String,
    /// The task it is about, by its number in the history.
    pub(crate) task: Option<usize>,
    pub(crate) place: Option<usize>,
}
