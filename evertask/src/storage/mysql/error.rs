//! What the server's errors mean to those who asked.

use std::fmt;

use mysql_async::{Error, IoError};

use crate::storage::{
    StorageError, StorageErrorKind,
    server::{DriverError, is_refused},
};

/// Why something could not be done.
pub(super) type Fault = crate::storage::server::Fault<Error>;

/// Names for the numbers of the server's errors.
mod code {
    pub(super) const DUPLICATE: u16 = 1062;
    pub(super) const LOCK_WAIT: u16 = 1205;
    pub(super) const DEADLOCK: u16 = 1213;
    /// A record has changed since it was read: as a deadlock.
    pub(super) const CHANGED: u16 = 1020;
    pub(super) const NO_COLUMN: u16 = 1054;
    pub(super) const NO_TABLE: u16 = 1146;
    /// Each of these is the last word of a session: shutting down, killed, too large a packet, trouble with the network, idle
    /// for too long.
    pub(super) const LAST_WORDS: &[u16] =
        &[1053, 1152, 1153, 1156, 1157, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 4031];
}

impl DriverError for Error {
    const MIGRATIONS: &'static str = "MySql::migrations_sql";

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(said) => write!(f, "{} ({})", said.message, said.code),
            Self::Io(error) => write!(f, "{error}"),
            error => write!(f, "{error}"),
        }
    }

    fn kind(&self) -> StorageErrorKind {
        code_of(self).map_or(StorageErrorKind::Unavailable, kind_of)
    }

    fn ends_session(&self) -> bool {
        code_of(self).is_none_or(|code| code::LAST_WORDS.contains(&code))
    }

    fn is_collision(&self) -> bool {
        let collisions = [code::DUPLICATE, code::LOCK_WAIT, code::DEADLOCK, code::CHANGED];
        code_of(self).is_some_and(|code| collisions.contains(&code))
    }

    fn is_away(&self) -> bool {
        match self {
            Self::Io(IoError::Io(error)) => is_refused(error),
            // Shutting down, and no room left.
            Self::Server(said) => [1053, 1021, 1114].contains(&said.code),
            _ => false,
        }
    }

    fn lacks_tables(&self) -> bool {
        matches!(code_of(self), Some(code::NO_TABLE | code::NO_COLUMN))
    }
}

/// What the server said, if it was the server.
pub(super) fn said(fault: &Fault) -> Option<u16> {
    match fault {
        Fault::Driver(error) => code_of(error),
        _ => None,
    }
}

/// What the server gave as the reason, if it was the server.
fn code_of(error: &Error) -> Option<u16> {
    match error {
        Error::Server(said) => Some(said.code),
        _ => None,
    }
}

pub(super) fn kind_of(code: u16) -> StorageErrorKind {
    match code {
        // The disk or a table is full.
        1021 | 1114 => StorageErrorKind::Full,
        // Started with `read_only`, a transaction or server that only reads, no right to a table.
        1142 | 1290 | 1792 | 1836 => StorageErrorKind::ReadOnly,
        // Damaged tables and indexes.
        1034 | 1035 | 1194 | 1195 | 1712 => StorageErrorKind::Corrupt,
        // Collisions; too many connections, no memory or threads, a cluster that is not ready, limits of users; statements and
        // transactions that were cut off.
        code::DUPLICATE | code::LOCK_WAIT | code::DEADLOCK | code::CHANGED => {
            StorageErrorKind::Unavailable
        }
        1037 | 1038 | 1040 | 1041 | 1043 | 1047 | 1129 | 1135 | 1203 | 1226 | 1317 | 1206
        | 1969 | 3024 => StorageErrorKind::Unavailable,
        // Too long, out of range, not of this type, too large a packet.
        1153 | 1264 | 1265 | 1292 | 1366 | 1367 | 1406 | 1690 => StorageErrorKind::Rejected,
        code if code::LAST_WORDS.contains(&code) => StorageErrorKind::Unavailable,
        _ => StorageErrorKind::Other,
    }
}

/// It was stored already.
pub(super) fn is_duplicate(fault: &Fault) -> bool {
    matches!(fault, Fault::Driver(error) if code_of(error) == Some(code::DUPLICATE))
}

/// A text is larger than what the server takes.
pub(super) fn cannot_take(size: usize, longest: usize) -> StorageError {
    let message = format!(
        "it makes a statement of {size} bytes, and the server takes {longest}; raise its `max_allowed_packet`"
    );
    StorageError::new(StorageErrorKind::Rejected, message)
}
