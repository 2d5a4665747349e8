//! What a handler writes in one transaction with the end of its task: stored effects that happen exactly once.

use std::fmt;

use tokio::sync::OwnedSemaphorePermit;

use super::{BoxFuture, FullStorage, Reply, Settlement, StorageError};

/// A storage whose database a handler can write to in the transaction that completes its task: see `Tx`.
///
/// It is for `Postgres`, with the feature `sqlx`. Nobody else can implement it.
#[diagnostic::on_unimplemented(
    message = "there is no `Tx<{Self}>`",
    label = "no storage in whose transactions a handler can write",
    note = "`Tx<Postgres>` needs `use evertask::storage::Postgres` and the feature `sqlx` of evertask"
)]
pub trait Transactional: Begin + FullStorage + Clone {}

/// How such a transaction begins and ends. Public in name only.
pub trait Begin {
    /// By what the handler writes.
    type Connection: Send + 'static;

    /// A connection with a transaction on it. Nothing is left open if the future is dropped.
    fn begin(&self) -> Reply<'_, Lent<Self::Connection>>;

    /// Completes the task in this transaction, if it is still ours to complete, and commits both.
    fn complete<'s>(
        &'s self,
        lent: Lent<Self::Connection>,
        settlement: &'s Settlement,
    ) -> BoxFuture<'s, Completion>;

    /// Ends the transaction without a trace. `idle`: nothing is under way on the connection, so that it can be used again.
    fn roll_back(&self, lent: Lent<Self::Connection>, idle: bool) -> BoxFuture<'_, ()>;
}

/// A connection with a transaction on it, and the place that it takes among all that may be open at the same time.
pub struct Lent<C> {
    pub(crate) conn: C,
    /// `None` for one that a caller brought. Given back when this is dropped.
    _place: Option<OwnedSemaphorePermit>,
}

impl<C> Lent<C> {
    pub(crate) fn new(conn: C, place: Option<OwnedSemaphorePermit>) -> Self {
        Self { conn, _place: place }
    }
}

impl<C> fmt::Debug for Lent<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").finish_non_exhaustive()
    }
}

/// What became of a transaction that was to complete its task.
#[derive(Debug)]
pub enum Completion {
    /// Both are committed.
    Done,
    /// A cancel was asked for, or another node has the task: both are rolled back.
    Refused,
    /// The database did not take it: both are rolled back.
    Failed(StorageError),
    /// The answer to the commit was lost: both are committed or neither.
    Unknown(StorageError),
}
