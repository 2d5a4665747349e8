//! The numbers under which SQL storages keep what has a name here. They are stored: they never change.
//!
//! Numbers that count are kept in wider columns. One that nobody here wrote is taken for the nearest that could have been: a row
//! that was edited by hand is not to stop those beside it.

use crate::task::{AttemptEnd, TaskState};

const STATES: [TaskState; 5] = [
    TaskState::Pending,
    TaskState::Running,
    TaskState::Completed,
    TaskState::Failed,
    TaskState::Cancelled,
];

/// A number that counts.
pub(crate) fn nearest(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

/// The codec with this number. One that does not exist is one that nobody can read.
pub(crate) fn codec_of(number: i64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// The lease after this one. The largest is never reached, and stays where somebody wrote it.
#[cfg(any(feature = "sqlite", feature = "mysql"))]
pub(crate) fn next_lease(lease: u64) -> u64 {
    lease.cast_signed().saturating_add(1).cast_unsigned()
}

/// The stored number of a state.
pub(crate) fn state_number(state: TaskState) -> u8 {
    match state {
        TaskState::Pending => 0,
        TaskState::Running => 1,
        TaskState::Completed => 2,
        TaskState::Failed => 3,
        TaskState::Cancelled => 4,
    }
}

/// The state with this number.
pub(crate) fn state_of(number: impl TryInto<usize>) -> Option<TaskState> {
    STATES.get(number.try_into().ok()?).copied()
}

/// The stored number of an attempt's end.
pub(crate) fn end_number(end: AttemptEnd) -> u8 {
    match end {
        AttemptEnd::Failed => 0,
        AttemptEnd::TimedOut => 1,
        AttemptEnd::Panicked => 2,
        AttemptEnd::Cancelled => 3,
        AttemptEnd::Snoozed => 4,
        AttemptEnd::Interrupted => 5,
        AttemptEnd::Lost => 6,
        AttemptEnd::Unreadable => 7,
    }
}

/// The end with this number.
pub(crate) fn end_of(number: impl TryInto<usize>) -> Option<AttemptEnd> {
    AttemptEnd::ALL.get(number.try_into().ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_reads_back_and_none_is_given_twice() {
        for (number, state) in STATES.into_iter().enumerate() {
            assert_eq!((usize::from(state_number(state)), state_of(number)), (number, Some(state)));
        }
        for (number, end) in AttemptEnd::ALL.into_iter().enumerate() {
            assert_eq!((usize::from(end_number(end)), end_of(number)), (number, Some(end)));
        }
        assert_eq!((state_of(5), end_of(8), state_of(-1_i64)), (None, None, None));
    }
}
