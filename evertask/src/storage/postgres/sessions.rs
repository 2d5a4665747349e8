//! The sessions on which handlers have their transactions: how many there may be, and how one is had.
//!
//! One is kept only once the server has said that the transaction on it has ended. All others are closed: so none is ever given
//! out with somebody else's transaction on it, wherever a future was dropped.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection, postgres::PgConnectOptions};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::{
    address::CONNECT,
    connection::{NOTICED, set_durable},
    site::Site,
    sqlx::tell,
    transaction,
};
use crate::{
    chance::jittered,
    storage::{StorageError, StorageErrorKind, server::closed, transactional::Lent},
};

/// How many are kept while no transaction needs them.
const IDLE_MAX: usize = 8;
/// The longest that one which was kept may take to begin. What takes longer is not slow but cut off.
const RESUME: Duration = Duration::from_secs(2);
/// For how long a server is asked again that has no session to give, and the waits in between, doubling.
const PATIENCE: Duration = Duration::from_secs(30);
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

pub(super) const BEGINNING: &str = "cannot begin the transaction of a task";

// A server that is busy for its client notices only so that the client is gone, and lets go of what it has locked.
const CHECK: &str = "SELECT set_config('client_connection_check_interval', '1s', false)
    WHERE current_setting('server_version_num')::int >= 140000";

/// The sessions of one storage.
#[derive(Debug)]
pub(super) struct Sessions {
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Kept>>,
    /// How long the server lets a transaction be in which nothing happens.
    idle_limit: Duration,
}

/// One that can be used again, and how often doubt about connections had been raised when it was last heard of.
#[derive(Debug)]
struct Kept {
    conn: PgConnection,
    doubts: u64,
}

impl Sessions {
    pub(super) fn new(most: u32, idle_limit: Duration) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(most)), idle: Mutex::default(), idle_limit }
    }

    /// One with a transaction on it, once there is a place for it.
    pub(super) async fn begin(&self, site: &Site) -> Result<Lent<PgConnection>, StorageError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| closed(&site.settings.place))?;
        let settings = self.settings(site);
        let (start, mut wait) = (Instant::now(), FIRST);
        loop {
            if let Some(conn) = self.resume(site, &settings).await {
                return Ok(Lent::new(conn, Some(place)));
            }
            match connect(site, &settings).await {
                Ok(conn) => return Ok(Lent::new(conn, Some(place))),
                // It is not the handler's fault, and costs no attempt.
                Err(error) if error.is_transient() && start.elapsed() + wait < PATIENCE => {
                    tracing::debug!(%error, "the transaction of a task waits for a connection");
                    sleep(jittered(wait)).await;
                    wait = (wait * 2).min(LONGEST);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A kept one on which a transaction could be begun.
    async fn resume(&self, site: &Site, settings: &str) -> Option<PgConnection> {
        loop {
            let mut conn = self.take(site.doubt.times())?;
            match timeout(RESUME, transaction::begin(&mut conn, settings)).await {
                Ok(Ok(())) => return Some(conn),
                Ok(Err(_)) => {}
                // Cut off without a word, and the others as well.
                Err(_) => self.idle().clear(),
            }
        }
    }

    /// A kept one that is beyond doubt.
    fn take(&self, doubts: u64) -> Option<PgConnection> {
        let mut idle = self.idle();
        idle.retain(|kept| kept.doubts == doubts);
        idle.pop().map(|kept| kept.conn)
    }

    /// Keeps one whose transaction has ended.
    pub(super) fn keep(&self, site: &Site, conn: PgConnection) {
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX && !self.places.is_closed() {
            idle.push(Kept { conn, doubts: site.doubt.times() });
        }
    }

    /// Closes what is kept, and gives out no more.
    pub(super) fn close(&self) {
        self.places.close();
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is set for one transaction. Behind a proxy its session is another one each time, and has no settings of ours.
    fn settings(&self, site: &Site) -> String {
        let limit = self.idle_limit.as_millis().clamp(1, i32::MAX as u128);
        let mut settings = format!("SET LOCAL idle_in_transaction_session_timeout = {limit};");
        if site.settings.pooled_proxy {
            settings.push_str(&set_durable(&site.settings, "true"));
        }
        settings
    }
}

/// A new one with a transaction on it, at the first host that may be written to.
async fn connect(site: &Site, settings: &str) -> Result<PgConnection, StorageError> {
    let place = &site.settings.place;
    let limit = site.settings.config.get_connect_timeout().copied().unwrap_or(CONNECT);
    let mut last = closed(place);
    for options in site.settings.for_sqlx() {
        match timeout(limit, open(site, options, settings)).await {
            Ok(Ok(Some(conn))) => return Ok(conn),
            Ok(Ok(None)) => {
                let message =
                    format!("{BEGINNING}: {place} only reads; connect to the primary server");
                last = StorageError::new(StorageErrorKind::ReadOnly, message);
            }
            Ok(Err(error)) => last = tell(error, place, BEGINNING),
            Err(_) => {
                let message = format!("{BEGINNING}: {place} does not answer within {limit:?}");
                last = StorageError::new(StorageErrorKind::Unavailable, message);
            }
        }
    }
    Err(last)
}

/// `None` if nothing can be written there: a standby, or a primary that has become one.
async fn open(
    site: &Site,
    options: PgConnectOptions,
    settings: &str,
) -> Result<Option<PgConnection>, sqlx::Error> {
    let mut conn = options.connect().await?;
    if !site.settings.pooled_proxy {
        let set: String =
            NOTICED.iter().map(|(name, value)| format!("SET {name} = {value};")).collect();
        let set = format!("{set}{CHECK}; {}", set_durable(&site.settings, "false"));
        conn.execute(AssertSqlSafe(set)).await?;
    }
    transaction::begin(&mut conn, settings).await?;
    let reads = "SELECT current_setting('transaction_read_only') = 'on'";
    let only_reads: bool = sqlx::query_scalar(reads).persistent(false).fetch_one(&mut conn).await?;
    Ok((!only_reads).then_some(conn))
}
