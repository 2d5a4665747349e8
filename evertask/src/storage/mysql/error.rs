//! What the server's errors mean to those who asked.

use std::{fmt, sync::Arc, time::Duration};

use mysql_async::Error;

use crate::storage::{StorageError, StorageErrorKind};

/// Why something could not be done.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// The driver or the server says why.
    Driver(Arc<Error>),
    /// There was no answer within this time.
    Silence(Duration),
    /// A stored value that cannot be what we wrote.
    Damaged(&'static str),
    /// It is known already how to say it.
    Told(Arc<StorageError>),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Driver(Arc::new(error))
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        Self::Told(Arc::new(error))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver(error) => match &**error {
                Error::Server(said) => write!(f, "{} ({})", said.message, said.code),
                Error::Io(error) => write!(f, "{error}"),
                error => write!(f, "{error}"),
            },
            Self::Silence(limit) => write!(f, "no answer within {limit:?}"),
            Self::Damaged(what) => f.write_str(what),
            Self::Told(error) => error.fmt(f),
        }
    }
}

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

impl Fault {
    fn code(&self) -> Option<u16> {
        match self {
            Self::Driver(error) => match &**error {
                Error::Server(said) => Some(said.code),
                _ => None,
            },
            _ => None,
        }
    }

    /// True if nothing more can be had from the connection on which it happened.
    pub(super) fn breaks_connection(&self) -> bool {
        match self {
            Self::Driver(_) => self.code().is_none_or(|code| code::LAST_WORDS.contains(&code)),
            Self::Silence(_) => true,
            Self::Damaged(_) | Self::Told(_) => false,
        }
    }

    /// True if the connection has ended, and that was told.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self, Self::Driver(_)) && self.breaks_connection()
    }

    /// True if another transaction stood in the way, so that the same may well succeed at once. What collides on an id or a key
    /// is one of them: then it was stored at this moment by somebody else, and is seen when one looks again.
    pub(super) fn is_collision(&self) -> bool {
        let collisions = [code::DUPLICATE, code::LOCK_WAIT, code::DEADLOCK, code::CHANGED];
        self.code().is_some_and(|code| collisions.contains(&code))
    }

    /// True if the trouble is with the database as a whole, so that whatever else is asked would meet it too.
    pub(super) fn concerns_all(&self) -> bool {
        !matches!(self.kind(), StorageErrorKind::Rejected | StorageErrorKind::Corrupt)
    }

    fn kind(&self) -> StorageErrorKind {
        match self {
            Self::Silence(_) => StorageErrorKind::Unavailable,
            Self::Damaged(_) => StorageErrorKind::Corrupt,
            Self::Told(error) => error.kind(),
            Self::Driver(_) => self.code().map_or(StorageErrorKind::Unavailable, kind_of),
        }
    }

    /// Said so that one knows at which database, while doing what, and what to do.
    pub(super) fn tell(&self, place: &str, doing: &str) -> StorageError {
        let kind = self.kind();
        let message = match (self, kind) {
            (Self::Told(error), _) => format!("{doing}: {error}"),
            (_, StorageErrorKind::Unavailable) if self.breaks_connection() => format!(
                "{doing}: the connection to {place} broke or cannot be made ({self}); it is tried again"
            ),
            (_, StorageErrorKind::Unavailable) => {
                format!("{doing}: {place} is too busy for it ({self}); try again")
            }
            (_, StorageErrorKind::Full) => format!(
                "{doing}: no room left for {place} ({self}); nothing was lost, make room on its disk"
            ),
            (_, StorageErrorKind::ReadOnly) => format!(
                "{doing}: {place} cannot be written ({self}); connect to the primary server, as a user that may write"
            ),
            (_, StorageErrorKind::Corrupt) => format!(
                "{doing}: {place} holds what evertask did not write there ({self}); see what else writes into its tables"
            ),
            (_, StorageErrorKind::Rejected) => format!("{doing}: {place} does not take it: {self}"),
            _ => match self.code() {
                Some(code::NO_TABLE | code::NO_COLUMN) => format!(
                    "{doing}: tables are missing in {place} ({self}); let evertask make them, or run `MySql::migrations_sql`"
                ),
                _ => format!("{doing}: {place}: {self}"),
            },
        };
        let error = StorageError::new(kind, message);
        match self {
            Self::Driver(source) => error.caused_by(Arc::clone(source)),
            _ => error,
        }
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

/// A text is larger than what the server takes.
pub(super) fn cannot_take(size: usize, longest: usize) -> StorageError {
    let message = format!(
        "it makes a statement of {size} bytes, and the server takes {longest}; raise its `max_allowed_packet`"
    );
    StorageError::new(StorageErrorKind::Rejected, message)
}

/// The storage was closed before an answer came.
pub(super) fn closed(place: &str) -> StorageError {
    let message = format!("the storage on {place} was closed; open it again");
    StorageError::new(StorageErrorKind::Closed, message)
}
