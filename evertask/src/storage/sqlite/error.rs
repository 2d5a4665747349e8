//! What SQLite's errors mean to those who asked.

use std::{path::Path, sync::Arc};

use rusqlite::{Error, ErrorCode, ffi};

use crate::storage::{StorageError, StorageErrorKind};

/// An error of SQLite, said so that one knows at which file, while doing what, and what to do.
///
/// Shared, because all requests of a batch may have to be told.
pub(super) fn storage_error(path: &Path, doing: &str, error: &Arc<Error>) -> StorageError {
    let kind = kind(error);
    let file = path.display();
    let message = match kind {
        StorageErrorKind::Unavailable => {
            format!("{doing}: another process keeps `{file}` locked; try again")
        }
        StorageErrorKind::Full => {
            format!("{doing}: no room left for `{file}`; nothing was lost, make room on its disk")
        }
        StorageErrorKind::ReadOnly if was_moved(error) => format!(
            "{doing}: `{file}` was moved, deleted or emptied while it was open, and what is written now would be lost; put it back or \
             start the program again"
        ),
        StorageErrorKind::ReadOnly => {
            format!("{doing}: `{file}` cannot be written; check the rights on it and its directory")
        }
        StorageErrorKind::NotADatabase => {
            format!("{doing}: `{file}` is not an SQLite database; choose another path")
        }
        StorageErrorKind::Corrupt => format!(
            "{doing}: `{file}` is damaged ({error}); stop all programs that use it and restore it from a backup, or \
             save what can be read with `sqlite3 {file} .recover`"
        ),
        _ if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) => format!(
            "{doing}: `{file}` cannot be opened or made; check the rights on it and its directory, and how many files may be \
             open"
        ),
        StorageErrorKind::Rejected => format!("{doing}: `{file}` does not take it: {error}"),
        _ => format!("{doing}: `{file}`: {error}"),
    };
    StorageError::new(kind, message).caused_by(Arc::clone(error))
}

fn kind(error: &Error) -> StorageErrorKind {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StorageErrorKind::Unavailable,
        Some(ErrorCode::DiskFull) => StorageErrorKind::Full,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StorageErrorKind::ReadOnly,
        Some(ErrorCode::NotADatabase) => StorageErrorKind::NotADatabase,
        Some(ErrorCode::DatabaseCorrupt) => StorageErrorKind::Corrupt,
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => {
            StorageErrorKind::Rejected
        }
        _ => match error {
            // A value in a row that we never write there.
            Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..) => StorageErrorKind::Corrupt,
            _ => StorageErrorKind::Other,
        },
    }
}

/// True if the trouble is with the database as a whole, so that whatever else is asked would meet it too.
pub(super) fn concerns_all(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::NotADatabase
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::OutOfMemory
                | ErrorCode::FileLockingProtocolFailed
        )
    )
}

/// True if someone else held the lock that was wanted.
pub(super) fn is_busy(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// The storage was closed, or its runtime ended, before an answer came.
pub(super) fn closed(path: &Path) -> StorageError {
    let message = format!("the storage on `{}` was closed; open it again", path.display());
    StorageError::new(StorageErrorKind::Closed, message)
}

/// The file is not at its path any more.
pub(super) fn moved() -> Error {
    Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_READONLY_DBMOVED), None)
}

fn was_moved(error: &Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_READONLY_DBMOVED)
}

/// A stored value that cannot be what we wrote.
pub(super) fn damaged(what: &'static str) -> Error {
    let error = ffi::Error { code: ErrorCode::DatabaseCorrupt, extended_code: ffi::SQLITE_CORRUPT };
    Error::SqliteFailure(error, Some(what.to_owned()))
}
