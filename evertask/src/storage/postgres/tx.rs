//! Running → completed in the transaction in which the handler has written.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection, error::DatabaseError};
use tokio::time::timeout;

use super::{
    Postgres,
    address::CONNECT,
    connection::{quoted, set_durable},
    rings::Rings,
    settle::{COMPLETE, kept},
    site::Site,
    sqlx::tell,
};
use crate::storage::{
    BoxFuture, Effect, FullStorage, Reply, Settlement, StorageError, StorageErrorKind,
    Transactional,
    clock::duration_micros,
    join::{Join, JoinError},
    rules,
    server::closed,
    transactional::{Begin, Completion},
};

/// The longest that an end of a transaction may take before its connection is given up.
const LIMIT: Duration = Duration::from_secs(25);
/// The longest that a rollback is waited for. It writes nothing.
const SOON: Duration = Duration::from_secs(2);
/// How many connections are kept while no transaction needs them.
const IDLE_MAX: usize = 8;

const BEGINNING: &str = "cannot begin the transaction of a task";
const ENDING: &str = "cannot complete a task in its transaction";

// A server that is busy for its client notices only so that the client is gone, and lets go of what it has locked.
const CHECK: &str = "SELECT set_config('client_connection_check_interval', '1s', false)
    WHERE current_setting('server_version_num')::int >= 140000";

/// Connections on which no transaction is open.
///
/// One comes back only once the server has said that the transaction on it has ended. All others are closed: so none is ever given
/// out with somebody else's transaction on it, wherever a future was dropped.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<Option<Vec<PgConnection>>>);

impl Idle {
    fn take(&self) -> Option<PgConnection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut().and_then(Vec::pop)
    }

    fn put(&self, conn: PgConnection) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = idle.get_or_insert_default();
        if idle.len() < IDLE_MAX {
            idle.push(conn);
        }
    }

    /// Closes them.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Transactional for Postgres {}

impl Begin for Postgres {
    type Connection = PgConnection;

    fn begin(&self) -> Reply<'_, PgConnection> {
        Box::pin(async move {
            let site = &self.0.site;
            // Open, as everything else must be.
            drop(self.lines()?);
            let begin = || AssertSqlSafe(beginning(site));
            if let Some(mut conn) = self.0.idle.take()
                && conn.execute(begin()).await.is_ok()
            {
                return Ok(conn);
            }
            let mut conn = connect(site).await?;
            let begun = conn.execute(begin()).await;
            begun.map_err(|error| tell(error, &site.settings.place, BEGINNING))?;
            Ok(conn)
        })
    }

    fn complete<'s>(
        &'s self,
        mut conn: PgConnection,
        settlement: &'s Settlement,
    ) -> BoxFuture<'s, Completion> {
        Box::pin(async move {
            let place = &self.0.site.settings.place;
            // From here on it concerns nobody whether the future is dropped: an attempt does not drop it.
            match timeout(LIMIT, self.write(&mut conn, settlement)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    self.roll_back(conn, true).await;
                    return Completion::Refused;
                }
                Ok(Err(error)) => {
                    self.roll_back(conn, true).await;
                    return Completion::Failed(error);
                }
                Err(_) => return Completion::Failed(silence(place)),
            }
            match timeout(LIMIT, conn.execute("COMMIT")).await {
                Ok(Ok(_)) => {
                    self.0.idle.put(conn);
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

    fn roll_back(&self, mut conn: PgConnection, idle: bool) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // Where something is under way on it, it is closed, and the server rolls back.
            if idle && matches!(timeout(SOON, conn.execute("ROLLBACK")).await, Ok(Ok(_))) {
                self.0.idle.put(conn);
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
        // The session is the handler's, and so is its search path.
        let text = COMPLETE
            .text
            .replacen("UPDATE tasks", &format!("UPDATE {}.tasks", quoted(&site.settings.schema)), 1)
            .replacen("$2", "$2::text[]::uuid[]", 1);
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
            return Ok(false);
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

/// How a transaction begins. Behind a proxy its session is another one each time, and the settings go with the transaction.
fn beginning(site: &Site) -> String {
    match site.settings.pooled_proxy {
        true => format!("BEGIN; {}", set_durable(&site.settings, "true")),
        false => "BEGIN".to_owned(),
    }
}

async fn connect(site: &Site) -> Result<PgConnection, StorageError> {
    let place = &site.settings.place;
    let mut last = closed(place);
    for options in site.settings.for_sqlx() {
        let open = async {
            let mut conn = options.connect().await?;
            if !site.settings.pooled_proxy {
                let set = format!("{CHECK}; {}", set_durable(&site.settings, "false"));
                conn.execute(AssertSqlSafe(set)).await?;
            }
            Ok(conn)
        };
        match timeout(CONNECT, open).await {
            Ok(Ok(conn)) => return Ok(conn),
            Ok(Err(error)) => last = tell(error, place, BEGINNING),
            Err(_) => {
                let message = format!("{BEGINNING}: {place} does not answer within {CONNECT:?}");
                last = StorageError::new(StorageErrorKind::Unavailable, message);
            }
        }
    }
    Err(last)
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
