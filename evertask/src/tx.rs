//! The transaction of an attempt: what the handler writes in it is committed with the completion of its task, or not at all.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::task::AbortHandle;

use crate::{
    context::Context,
    event::EventKind,
    extract::{FromContext, MissingState, States},
    storage::{
        BoxFuture, Completion, FullStorage, Lent, Settlement, StorageError, StorageErrorKind,
        Transactional,
    },
};

/// People are told of a transaction that is open for longer than this.
const LONG: Duration = Duration::from_secs(5);

/// A transaction that commits together with the completion of the task: effects that are stored exactly once.
///
/// It is begun when it is first asked for, on a connection of its own. When the handler returns `Ok`, the completion is written in
/// it and both are committed, provided that the task is still this node's to complete. After an error, a timeout, a cancel, a panic,
/// a lost lease or a crash nothing of it remains, and another attempt begins anew. So a row that the handler inserts is there once
/// for each completed task, however often it was tried. What it does elsewhere, a request to some service for instance, may still
/// happen more than once.
///
/// It is the handler's own: it has to be dropped when the handler returns, and its end is evertask's business, so no `COMMIT`:
/// the attempt of a handler that ends it fails. Parts of it may be undone: `tx.get().await?.begin()` of `sqlx` is a savepoint in
/// it. Connections go from one handler to the next, so what is set is set by `SET LOCAL`.
///
/// While it is open it holds locks and keeps the database from tidying up, so do what is slow before the first `get`; one that
/// is open for more than 5 s is warned of, and one on which nothing happens for a minute is ended by the server, as its process
/// may be stopped or gone. Not more than 16 are open at the same time in one process. Both can be set, by `transaction_idle_limit`
/// and `transactions` of `Postgres::options()`.
///
/// `Tx<Postgres>` (feature `sqlx`) is for tasks in PostgreSQL, and another storage is refused at start. In a unit test,
/// [`Tx::from_connection`] makes one in which the test says what is committed.
#[cfg_attr(
    all(feature = "postgres", feature = "sqlx"),
    doc = r#"
```
use evertask::{Tx, storage::Postgres};

#[evertask::handler]
async fn book(order: i64, amount: i64, #[extract] mut tx: Tx<Postgres>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    sqlx::query("INSERT INTO bookings (order_id, amount) VALUES ($1, $2)")
        .bind(order)
        .bind(amount)
        .execute(tx.get().await?)
        .await?;
    Ok(())
}
```
"#
)]
pub struct Tx<S: Transactional> {
    lent: Option<Lent<S::Connection>>,
    ctx: Context,
    /// `None` where there is no attempt that could complete.
    slot: Option<Arc<Slot<S>>>,
}

impl<S: Transactional> Tx<S> {
    /// The connection on which the transaction is open; the first time, it is begun. While as many others are open as there may
    /// be, this waits for one of them to end.
    ///
    /// # Errors
    /// The database cannot be reached, or gives no more connections for half a minute.
    pub async fn get(&mut self) -> Result<&mut S::Connection, StorageError> {
        if let Some(ref mut lent) = self.lent {
            return Ok(&mut lent.conn);
        }
        let Some(slot) = &self.slot else {
            return Err(refuse(
                "a context made by `Context::test` has no transaction; give the handler `Tx::from_connection(..)`",
            ));
        };
        let lent = slot.storage.begin().await?;
        slot.lend(&self.ctx)?;
        Ok(&mut self.lent.insert(lent).conn)
    }

    /// One on a connection of the caller, who says what becomes of its transaction: for calling a handler in a unit test.
    #[must_use]
    pub fn from_connection(conn: S::Connection) -> Self {
        Self { lent: Some(Lent::new(conn, None)), ctx: Context::test(), slot: None }
    }
}

impl<S: Transactional> Drop for Tx<S> {
    fn drop(&mut self) {
        if let (Some(lent), Some(slot)) = (self.lent.take(), &self.slot) {
            slot.give_back(lent);
        }
    }
}

impl<S: Transactional> FromContext for Tx<S> {
    type Error = StorageError;

    async fn from_context(ctx: &Context) -> Result<Self, StorageError> {
        let storage = storage_in(ctx.states());
        let storage = storage.as_deref().and_then(of_kind::<S>);
        let slot = storage.map(|storage| Arc::new(Slot::new(storage.clone())));
        if let Some(slot) = &slot
            && !ctx.set_transaction(Arc::clone(slot) as Arc<dyn OwnTransaction>)
        {
            return Err(refuse("a handler has one transaction; take one `Tx` and pass it on"));
        }
        Ok(Self { lent: None, ctx: ctx.clone(), slot })
    }

    fn check(states: &States) -> Result<(), MissingState> {
        match storage_in(states) {
            Some(storage) if of_kind::<S>(&*storage).is_none() => {
                let kind = std::any::type_name::<S>();
                Err(MissingState::because(
                    std::any::type_name::<Self>(),
                    format!(
                        "it takes a `Tx` of `{kind}`, which can complete no task of another storage; give the builder that one, or \
                         write without `Tx`"
                    ),
                ))
            }
            // Asked before there is a storage, it cannot tell.
            _ => Ok(()),
        }
    }
}

impl<S: Transactional> fmt::Debug for Tx<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("open", &self.lent.is_some()).finish_non_exhaustive()
    }
}

/// The storage of the runtime; the builder puts it there once it is open.
fn storage_in(states: &States) -> Option<Arc<dyn FullStorage>> {
    states.get::<Arc<dyn FullStorage>>().map(|storage| Arc::clone(&storage))
}

fn of_kind<S: Transactional>(storage: &dyn FullStorage) -> Option<&S> {
    let any: &dyn Any = storage;
    any.downcast_ref()
}

fn refuse(why: &str) -> StorageError {
    StorageError::new(StorageErrorKind::Other, why)
}

/// Where the transaction of an attempt is.
struct Slot<S: Transactional> {
    storage: S,
    state: Mutex<State<S::Connection>>,
}

enum State<C> {
    /// Nobody has asked for it.
    Unused,
    /// The handler has it, and somebody looks at the clock.
    Lent(AbortHandle),
    /// The handler has let it go.
    Back(Lent<C>),
    /// The attempt has ended.
    Over,
}

impl<S: Transactional> Slot<S> {
    fn new(storage: S) -> Self {
        Self { storage, state: Mutex::new(State::Unused) }
    }

    fn state(&self) -> MutexGuard<'_, State<S::Connection>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lend(&self, ctx: &Context) -> Result<(), StorageError> {
        let mut state = self.state();
        let State::Unused = *state else {
            return Err(refuse("the attempt is over, and its transaction with it"));
        };
        let ctx = ctx.clone();
        let watch = tokio::spawn(async move {
            tokio::time::sleep(LONG).await;
            let (id, name) = (ctx.id(), ctx.name());
            tracing::warn!(%id, name, "the transaction of the task has been open for {LONG:?}: it holds locks, do what is slow before it");
            ctx.tell(EventKind::LongTransaction);
        });
        *state = State::Lent(watch.abort_handle());
        Ok(())
    }

    fn give_back(&self, lent: Lent<S::Connection>) {
        let mut state = self.state();
        if let State::Lent(watch) = &*state {
            watch.abort();
            *state = State::Back(lent);
        }
        // Otherwise it is too late for it: dropped here, it is closed, and the server rolls back.
    }

    /// Ends it for the attempt. What was lent stays where it is, and comes to nothing.
    fn end(&self) -> State<S::Connection> {
        let was = std::mem::replace(&mut *self.state(), State::Over);
        if let State::Lent(watch) = &was {
            watch.abort();
        }
        was
    }
}

/// The transaction of an attempt that has come to an end, whatever storage it is in.
pub(crate) trait OwnTransaction: Send + Sync {
    /// Completes the task with it. `None` if the handler never began it, so that there is nothing to commit.
    fn complete<'s>(&'s self, settlement: &'s Settlement) -> BoxFuture<'s, Option<Completion>>;

    /// Leaves nothing of it. `returned`: the handler came to its end by itself.
    fn roll_back(&self, returned: bool) -> BoxFuture<'_, ()>;
}

impl<S: Transactional> OwnTransaction for Slot<S> {
    fn complete<'s>(&'s self, settlement: &'s Settlement) -> BoxFuture<'s, Option<Completion>> {
        Box::pin(async move {
            match self.end() {
                State::Back(lent) => Some(self.storage.complete(lent, settlement).await),
                State::Lent(_) => Some(Completion::Failed(refuse(
                    "the handler returned while its transaction is still in use elsewhere, so nothing of it is committed; drop the \
                     `Tx` before",
                ))),
                State::Unused | State::Over => None,
            }
        })
    }

    fn roll_back(&self, returned: bool) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let State::Back(lent) = self.end() {
                self.storage.roll_back(lent, returned).await;
            }
        })
    }
}

#[cfg(test)]
mod tests;
