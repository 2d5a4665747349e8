//! The kinds of fault.

use std::fmt;

/// What happens, again and again, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    Killed,
    StoppedShort,
    StoppedLong,
    Skewed,
    ShutDown,
    Crashed,
    SessionsEnded,
    CutShort,
    CutLong,
    Silent,
    HalfOpen,
    Full,
}

impl Fault {
    pub(crate) const ALL: [Self; 13] = [
        Self::Nothing,
        Self::ShutDown,
        Self::Killed,
        Self::StoppedShort,
        Self::StoppedLong,
        Self::Skewed,
        Self::Crashed,
        Self::SessionsEnded,
        Self::CutShort,
        Self::CutLong,
        Self::Silent,
        Self::HalfOpen,
        Self::Full,
    ];

    /// It is one of the database server, or of the way there.
    pub(crate) fn needs_a_server(self) -> bool {
        match self {
            Self::Nothing
            | Self::Killed
            | Self::StoppedShort
            | Self::StoppedLong
            | Self::ShutDown
            | Self::Full => false,
            Self::Skewed
            | Self::Crashed
            | Self::SessionsEnded
            | Self::CutShort
            | Self::CutLong
            | Self::Silent
            | Self::HalfOpen => true,
        }
    }

    /// How long it is repeated: the longer it lasts, the longer.
    pub(crate) fn seconds(self) -> u64 {
        match self {
            Self::StoppedLong | Self::CutLong | Self::Silent | Self::Full => 16,
            _ => 8,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing goes wrong",
            Self::Killed => "SIGKILL of a node",
            Self::StoppedShort => "SIGSTOP for less than a lease",
            Self::StoppedLong => "SIGSTOP for more than a lease",
            Self::Skewed => "clocks an hour apart",
            Self::ShutDown => "shutdown in order, with a second to end in",
            Self::Crashed => "the server crashes",
            Self::SessionsEnded => "all sessions terminated",
            Self::CutShort => "a node's port closed for less than a lease",
            Self::CutLong => "a node's port closed for more than a lease",
            Self::Silent => "a node's port silent for more than a lease",
            Self::HalfOpen => "a node's connections half open",
            Self::Full => "the disk full for a lease",
        })
    }
}
