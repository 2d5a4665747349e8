//! Why something could not be done on a server, and what that means to those who asked.

use std::{error::Error, fmt, io, sync::Arc, time::Duration};

use crate::storage::{StorageError, StorageErrorKind};

/// What a driver's error is to us.
pub(crate) trait DriverError: Error + Send + Sync + 'static {
    /// Where the SQL is found that makes the tables.
    const MIGRATIONS: &'static str;

    /// With what the server said.
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    fn kind(&self) -> StorageErrorKind;

    /// Nothing more can be had from the session.
    fn ends_session(&self) -> bool;

    /// Another transaction stood in the way, so that the same may well succeed at once. What collides on an id or a key is one of
    /// them: then it was stored at this moment by somebody else, or by a connection that was thought lost, and is seen when one
    /// looks again.
    fn is_collision(&self) -> bool;

    fn lacks_tables(&self) -> bool;

    /// The server is there for nobody, not for us alone.
    fn is_away(&self) -> bool;
}

/// Nobody listens where a server should be.
pub(crate) fn is_refused(error: &io::Error) -> bool {
    // The second one where it would listen on a socket in the file system.
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

/// Why something could not be done.
#[derive(Debug)]
pub(crate) enum Fault<D> {
    /// The driver or the server says why.
    Driver(Arc<D>),
    /// There was no answer within this time.
    Silence(Duration),
    /// A stored value that cannot be what we wrote.
    Damaged(&'static str),
    /// It is known already how to say it.
    Told(Arc<StorageError>),
}

impl<D> Clone for Fault<D> {
    fn clone(&self) -> Self {
        match self {
            Self::Driver(error) => Self::Driver(Arc::clone(error)),
            Self::Silence(limit) => Self::Silence(*limit),
            Self::Damaged(what) => Self::Damaged(what),
            Self::Told(error) => Self::Told(Arc::clone(error)),
        }
    }
}

impl<D: DriverError> From<D> for Fault<D> {
    fn from(error: D) -> Self {
        Self::Driver(Arc::new(error))
    }
}

impl<D> From<StorageError> for Fault<D> {
    fn from(error: StorageError) -> Self {
        Self::Told(Arc::new(error))
    }
}

impl<D: DriverError> fmt::Display for Fault<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver(error) => error.describe(f),
            Self::Silence(limit) => write!(f, "no answer within {limit:?}"),
            Self::Damaged(what) => f.write_str(what),
            Self::Told(error) => error.fmt(f),
        }
    }
}

impl<D: DriverError> Fault<D> {
    /// True if nothing more can be had from the connection on which it happened.
    pub(crate) fn breaks_connection(&self) -> bool {
        matches!(self, Self::Silence(_)) || self.is_cut()
    }

    /// True if the connection has ended, and that was told.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self, Self::Driver(error) if error.ends_session())
    }

    pub(super) fn is_collision(&self) -> bool {
        matches!(self, Self::Driver(error) if error.is_collision())
    }

    /// True if it was told that the server is there for nobody.
    pub(super) fn is_away(&self) -> bool {
        matches!(self, Self::Driver(error) if error.is_away())
    }

    /// True if the trouble is with the database as a whole, so that whatever else is asked would meet it too.
    pub(crate) fn concerns_all(&self) -> bool {
        !matches!(self.kind(), StorageErrorKind::Rejected | StorageErrorKind::Corrupt)
    }

    /// True if the same may succeed a little later, and nobody knows whether it was carried out.
    pub(super) fn is_transient(&self) -> bool {
        self.kind() == StorageErrorKind::Unavailable
    }

    fn kind(&self) -> StorageErrorKind {
        match self {
            Self::Driver(error) => error.kind(),
            Self::Silence(_) => StorageErrorKind::Unavailable,
            Self::Damaged(_) => StorageErrorKind::Corrupt,
            Self::Told(error) => error.kind(),
        }
    }

    /// Said so that one knows at which database, while doing what, and what to do.
    pub(crate) fn tell(&self, place: &str, doing: &str) -> StorageError {
        let kind = self.kind();
        let lacks_tables = matches!(self, Self::Driver(error) if error.lacks_tables());
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
            _ if lacks_tables => format!(
                "{doing}: tables are missing in {place} ({self}); let evertask make them, or run `{}`",
                D::MIGRATIONS
            ),
            _ => format!("{doing}: {place}: {self}"),
        };
        let error = StorageError::new(kind, message);
        match self {
            Self::Driver(source) => error.caused_by(Arc::clone(source)),
            _ => error,
        }
    }
}

/// The storage was closed before an answer came.
pub(crate) fn closed(place: &str) -> StorageError {
    let message = format!("the storage on {place} was closed; open it again");
    StorageError::new(StorageErrorKind::Closed, message)
}
