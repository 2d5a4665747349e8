//! Running → completed in the transaction in which the handler has written.

use std::{sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, PgConnection, error::DatabaseError};
use tokio::time::timeout;

use super::{
    Postgres,
    connection::quoted,
    rings::Rings,
    settle::{COMPLETE, kept},
    sqlx::tell,
    transaction::{self, IS_OURS},
};
use crate::storage::{
    BoxFuture, Effect, FullStorage, Reply, Settlement, StorageError, StorageErrorKind,
    Transactional,
    clock::duration_micros,
    join::{Join, JoinError},
    rules,
    transactional::{Begin, Completion, Lent},
};

/// The longest that an end of a transaction may take before its connection is given up.
const LIMIT: Duration = Duration::from_secs(25);
/// The longest that a rollback is waited for. It writes nothing.
const SOON: Duration = Duration::from_secs(2);

const ENDING: &str = "cannot complete a task in its transaction";
const ENDED: &str = "cannot complete a task in its transaction: the handler has ended it, by a `COMMIT` or `ROLLBACK` of its own or by \
    going on after a savepoint had failed, so what it wrote before or since may be committed without its task; leave the end to \
    evertask, and put what may be undone into `tx.get().await?.begin()`";

impl Transactional for Postgres {}

impl Begin for Postgres {
    type Connection = PgConnection;

    fn begin(&self) -> Reply<'_, Lent<PgConnection>> {
        Box::pin(async move {
            // Open, as everything else must be.
            drop(self.lines()?);
            self.0.sessions.begin(&self.0.site).await
        })
    }

    fn complete<'s>(
        &'s self,
        mut lent: Lent<PgConnection>,
        settlement: &'s Settlement,
    ) -> BoxFuture<'s, Completion> {
        Box::pin(async move {
            let place = &self.0.site.settings.place;
            // From here on it concerns nobody whether the future is dropped: an attempt does not drop it.
            match timeout(LIMIT, self.write(&mut lent.conn, settlement)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    self.roll_back(lent, true).await;
                    return Completion::Refused;
                }
                Ok(Err(error)) => {
                    self.roll_back(lent, true).await;
                    return Completion::Failed(error);
                }
                Err(_) => return Completion::Failed(silence(place)),
            }
            match timeout(LIMIT, transaction::commit(&mut lent.conn)).await {
                Ok(Ok(())) => {
                    self.0.sessions.keep(&self.0.site, lent.conn);
                    let mut rings = Rings::default();
                    rings.ended.insert(settlement.id);
                    self.0.site.ring(rings);
                    Completion::Done
                }
                Ok(Err(error)) if was_refused(&error) => {
                    Completion::Failed(tell(error, place, ENDING))
                }
                Ok(Err(error)) => Completion::Unknown(tell(error, place, ENDING)),
                Err(_) => Completion::Unknown(silence(place)),
            }
        })
    }

    fn roll_back(&self, mut lent: Lent<PgConnection>, idle: bool) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // Where something is under way on it, it is closed, and the server rolls back.
            let rolled_back = timeout(SOON, transaction::roll_back(&mut lent.conn));
            if idle && matches!(rolled_back.await, Ok(Ok(true))) {
                self.0.sessions.keep(&self.0.site, lent.conn);
            }
        })
    }
}

impl Postgres {
    /// Completes the task and stores its effects. False if it is not ours to complete, or a cancel was asked for.
    async fn write(
        &self,
        conn: &mut PgConnection,
        settlement: &Settlement,
    ) -> Result<bool, StorageError> {
        let site = &self.0.site;
        let output = settlement.output.as_ref();
        // The session is the handler's, and so is its search path. Outside of our transaction nothing is completed.
        let text = COMPLETE
            .text
            .replacen("UPDATE tasks", &format!("UPDATE {}.tasks", quoted(&site.settings.schema)), 1)
            .replacen("$2", "$2::text[]::uuid[]", 1)
            .replacen("WHERE ", &format!("WHERE {IS_OURS} AND "), 1);
        let complete = sqlx::query(AssertSqlSafe(text))
            .persistent(!site.settings.pooled_proxy)
            .bind(site.injected())
            .bind(vec![settlement.id.to_string()])
            .bind(vec![settlement.lease.cast_signed()])
            .bind(vec![duration_micros(settlement.ran)])
            .bind(vec![kept(settlement.keep.completed)])
            .bind(vec![output.map(|output| i32::from(output.codec))])
            .bind(vec![output.map(|output| output.bytes.to_vec())])
            .bind(vec![settlement.output_error.as_deref().map(rules::storable_error)]);
        let done = complete.execute(&mut *conn).await;
        let done = done.map_err(|error| tell(error, &site.settings.place, ENDING))?;
        if done.rows_affected() == 0 {
            let open = transaction::is_open(conn).await;
            return match open.map_err(|error| tell(error, &site.settings.place, ENDING))? {
                true => Ok(false),
                false => Err(StorageError::new(StorageErrorKind::Other, ENDED)),
            };
        }
        let effects = settlement.effects.iter().map(|effect| match effect {
            Effect::Enqueue(task) => (**task).clone(),
        });
        let storage: Arc<dyn FullStorage> = Arc::new(self.clone());
        match conn.join(storage, effects.collect()).await {
            Ok(_) => Ok(true),
            Err(JoinError::Storage(error)) => Err(error),
            Err(JoinError::Elsewhere { transaction, .. }) => {
                let message = format!("{ENDING}: it {transaction}, which the storage is not");
                Err(StorageError::new(StorageErrorKind::Other, message))
            }
        }
    }
}

/// The server has said that it did not commit. What ends a session may also have come after the commit.
fn was_refused(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| !["08", "53", "57", "58", "XX"].iter().any(|end| code.starts_with(end)))
}

fn silence(place: &str) -> StorageError {
    let message = format!("{ENDING}: no answer from {place} within {LIMIT:?}");
    StorageError::new(StorageErrorKind::Unavailable, message)
}
