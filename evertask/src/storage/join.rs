//! Storing tasks in a transaction that the caller has begun: they exist if it commits, and never did if it rolls back.
//!
//! Each storage that can do so implements [`Join`] for the transactions of the drivers by which its database is reached.

use std::sync::Arc;

use super::{BoxFuture, Enqueued, FullStorage, NewTask, StorageError};

/// A transaction in which tasks can be stored, with [`Dispatch::within`](crate::Dispatch::within).
///
/// Those of the database that the runtime has its tasks in: `sqlx::Transaction<'_, sqlx::Postgres>` and `sqlx::PgConnection`
/// (feature `sqlx`), `sqlx::Transaction<'_, sqlx::MySql>` (the same), `tokio_postgres::Transaction<'_>` (feature `postgres`),
/// `mysql_async::Transaction<'_>` (feature `mysql`), `rusqlite::Transaction<'_>` (feature `sqlite`).
/// Nobody else can implement it.
#[diagnostic::on_unimplemented(
    message = "tasks cannot be stored within `{Self}`",
    label = "no transaction that evertask knows",
    note = "it takes `&mut sqlx::Transaction<'_, sqlx::Postgres>` and `…<'_, sqlx::MySql>` (feature `sqlx`), \
            `&mut tokio_postgres::Transaction<'_>` (feature `postgres`), `&mut mysql_async::Transaction<'_>` (feature `mysql`) \
            and `&mut rusqlite::Transaction<'_>` (feature `sqlite`), of the versions it was built with"
)]
pub trait JoinTx: Join {}

/// What a transaction has to be able to do. Public in name only, so that [`JoinTx`] is ours alone to implement.
pub trait Join {
    /// Stores tasks that have been checked, all or none, and leaves the transaction usable in either case.
    fn join<'t>(
        &'t mut self,
        storage: Arc<dyn FullStorage>,
        tasks: Vec<NewTask>,
    ) -> BoxFuture<'t, Result<Joined, JoinError>>;

    /// True if the future is ready at once, since the driver blocks.
    fn blocks(&self) -> bool {
        false
    }
}

/// Tasks that are stored as soon as the transaction commits.
#[derive(Debug)]
pub struct Joined {
    pub(crate) enqueued: Vec<Enqueued>,
    /// The commit will wake whoever is to run them.
    pub(crate) wakes: bool,
}

/// Why tasks were not stored in a transaction.
#[derive(Debug)]
pub enum JoinError {
    /// It is not one of the storage's database. Said are both.
    Elsewhere {
        /// Where the transaction is.
        transaction: String,
        /// Where the tasks are.
        storage: String,
    },
    /// The database refused.
    Storage(StorageError),
}

impl From<StorageError> for JoinError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// The storage as what it is, or why a transaction of this kind of database cannot store its tasks.
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
pub(super) fn storage_of<'s, S: 'static>(
    storage: &'s dyn FullStorage,
    kind: &str,
) -> Result<&'s S, JoinError> {
    let any: &dyn std::any::Any = storage;
    any.downcast_ref().ok_or_else(|| JoinError::Elsewhere {
        transaction: format!("is one of {kind}"),
        storage: "in another kind of storage".to_owned(),
    })
}
