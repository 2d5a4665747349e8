//! What the server's errors mean to those who asked.

use std::{fmt, sync::Arc, time::Duration};

use tokio_postgres::{Error, error::SqlState};

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
            Self::Driver(error) => match error.as_db_error() {
                // The driver's own text leaves out what the server said.
                Some(said) => write!(f, "{} ({})", said.message(), said.code().code()),
                None => {
                    write!(f, "{error}")?;
                    let mut source = std::error::Error::source(&**error);
                    while let Some(cause) = source {
                        write!(f, ": {cause}")?;
                        source = cause.source();
                    }
                    Ok(())
                }
            },
            Self::Silence(limit) => write!(f, "no answer within {limit:?}"),
            Self::Damaged(what) => f.write_str(what),
            Self::Told(error) => error.fmt(f),
        }
    }
}

impl Fault {
    fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Driver(error) => error.code(),
            _ => None,
        }
    }

    /// True if nothing more can be had from the connection on which it happened.
    pub(super) fn breaks_connection(&self) -> bool {
        match self {
            Self::Driver(error) => error.as_db_error().is_none_or(|said| {
                // These end the session on the server's side.
                said.code().code().starts_with("57P")
                    || said.code().code().starts_with("08")
                    || *said.code() == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
            }),
            Self::Silence(_) => true,
            Self::Damaged(_) | Self::Told(_) => false,
        }
    }

    /// True if another transaction stood in the way, so that the same may well succeed at once. What collides on an id is one
    /// of them: then the same dispatch was stored by a connection that was thought lost.
    pub(super) fn is_collision(&self) -> bool {
        self.code().is_some_and(|code| {
            *code == SqlState::T_R_DEADLOCK_DETECTED
                || *code == SqlState::T_R_SERIALIZATION_FAILURE
                || *code == SqlState::UNIQUE_VIOLATION
        })
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
            Self::Driver(_) => match self.code() {
                None => StorageErrorKind::Unavailable,
                Some(code) => kind_of(code),
            },
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
            (_, StorageErrorKind::Full) => {
                format!(
                    "{doing}: no room left for {place} ({self}); nothing was lost, make room on its disk"
                )
            }
            (_, StorageErrorKind::ReadOnly) => format!(
                "{doing}: {place} cannot be written ({self}); connect to the primary server, as a role that may write"
            ),
            (_, StorageErrorKind::Corrupt) => format!(
                "{doing}: {place} holds what evertask did not write there ({self}); see what else writes into its tables"
            ),
            (_, StorageErrorKind::Rejected) => format!("{doing}: {place} does not take it: {self}"),
            _ => match self.code() {
                Some(code)
                    if *code == SqlState::UNDEFINED_TABLE
                        || *code == SqlState::UNDEFINED_COLUMN =>
                {
                    format!(
                        "{doing}: tables are missing in {place} ({self}); let evertask make them, or run `Postgres::migrations_sql`"
                    )
                }
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

pub(super) fn kind_of(code: &SqlState) -> StorageErrorKind {
    match code.code() {
        "53100" => StorageErrorKind::Full,
        "25006" | "42501" => StorageErrorKind::ReadOnly,
        "XX001" | "XX002" => StorageErrorKind::Corrupt,
        // Too many connections, out of memory, shutting down, starting up, lock and statement timeouts, collisions.
        "53000" | "53200" | "53300" | "57014" | "55P03" | "25P02" | "25P03" => {
            StorageErrorKind::Unavailable
        }
        code if code.starts_with("08") || code.starts_with("57P") || code.starts_with("40") => {
            StorageErrorKind::Unavailable
        }
        code if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => {
            StorageErrorKind::Rejected
        }
        _ => StorageErrorKind::Other,
    }
}

/// The storage was closed before an answer came.
pub(super) fn closed(place: &str) -> StorageError {
    let message = format!("the storage on {place} was closed; open it again");
    StorageError::new(StorageErrorKind::Closed, message)
}
