//! The numbers under which SQL storages keep what has a name here. They are stored: they never change.

use crate::task::{AttemptEnd, TaskState};

const STATES: [TaskState; 5] = [
    TaskState::Pending,
    TaskState::Running,
    TaskState::Completed,
    TaskState::Failed,
    TaskState::Cancelled,
];

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
