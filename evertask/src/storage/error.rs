//! Why a storage could not do what it was asked.

use std::fmt;

use crate::failure::BoxError;

/// An error of a storage: what kind it is for the program, what happened for people.
#[derive(Debug)]
pub struct StorageError {
    kind: StorageErrorKind,
    message: String,
    source: Option<BoxError>,
}

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StorageErrorKind {
    /// The database cannot be reached or is busy; the same call may succeed later.
    Unavailable,
    /// No room left on the disk; nothing was lost, and the same call succeeds once there is room.
    Full,
    /// The database can be read but not written.
    ReadOnly,
    /// What was to be stored cannot be stored.
    Rejected,
    /// This is no database, or none of ours.
    NotADatabase,
    /// The database was made by a newer evertask and cannot be used by this one.
    TooNew,
    /// The database, or the place it is at, cannot keep our promises.
    Unsafe,
    /// The database is damaged.
    Corrupt,
    /// The storage was closed.
    Closed,
    /// Anything else.
    Other,
}

impl StorageError {
    /// An error of this kind.
    pub fn new(kind: StorageErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of trouble it is.
    #[must_use]
    pub fn kind(&self) -> StorageErrorKind {
        self.kind
    }

    /// True if the same call may succeed later without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind == StorageErrorKind::Unavailable
    }

    /// True if it may be about one of the things that were to be stored, and not about the storage.
    pub(crate) fn may_be_of_one_item(&self) -> bool {
        matches!(self.kind, StorageErrorKind::Rejected | StorageErrorKind::Other)
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
