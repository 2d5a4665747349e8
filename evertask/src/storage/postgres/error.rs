//! What the server's errors mean to those who asked.

use std::{error::Error as _, fmt};

use tokio_postgres::{Error, error::SqlState};

use crate::storage::{
    StorageErrorKind,
    server::{DriverError, is_refused},
};

/// Why something could not be done.
pub(super) type Fault = crate::storage::server::Fault<Error>;

impl DriverError for Error {
    const MIGRATIONS: &'static str = "Postgres::migrations_sql";

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The driver's own text leaves out what the server said.
        if let Some(said) = self.as_db_error() {
            let code = said.code().code();
            write!(f, "{} ({code})", said.message())?;
            return advice(code).map_or(Ok(()), |advice| write!(f, "; {advice}"));
        }
        write!(f, "{self}")?;
        let mut source = self.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }

    fn kind(&self) -> StorageErrorKind {
        self.code().map_or(StorageErrorKind::Unavailable, kind_of)
    }

    fn ends_session(&self) -> bool {
        self.as_db_error().is_none_or(|said| {
            // These end the session on the server's side.
            said.code().code().starts_with("57P")
                || said.code().code().starts_with("08")
                || *said.code() == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
        })
    }

    fn is_collision(&self) -> bool {
        self.code().is_some_and(|code| {
            *code == SqlState::T_R_DEADLOCK_DETECTED
                || *code == SqlState::T_R_SERIALIZATION_FAILURE
                || *code == SqlState::UNIQUE_VIOLATION
        })
    }

    fn is_away(&self) -> bool {
        match self.code() {
            Some(code) => [SqlState::CANNOT_CONNECT_NOW, SqlState::DISK_FULL].contains(code),
            None => self.source().and_then(|error| error.downcast_ref()).is_some_and(is_refused),
        }
    }

    fn lacks_tables(&self) -> bool {
        self.code().is_some_and(|code| {
            *code == SqlState::UNDEFINED_TABLE || *code == SqlState::UNDEFINED_COLUMN
        })
    }
}

/// What to do about it, where the server's words do not tell.
pub(super) fn advice(code: &str) -> Option<&'static str> {
    match code {
        "26000" | "42P05" | "08P01" => Some(POOLED),
        #[cfg(feature = "sqlx")]
        "25P03" => Some(
            "nothing happened in the transaction for as long as `transaction_idle_limit` says: do what is slow before its first \
             statement",
        ),
        _ => None,
    }
}

/// What to do about a proxy that we have not been told of.
pub(super) const POOLED: &str = "a proxy like pgbouncer seems to give each transaction another session: say so by \
    `Postgres::options().pooled_proxy(true)`, connect to the server itself, or let the proxy pool sessions";

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
