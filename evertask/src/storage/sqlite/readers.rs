//! Connections for reading, apart from the one that writes: neither waits for the other.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{
    connection::{Settings, open_reader},
    error::{closed, storage_error},
};
use crate::storage::StorageError;

/// A few connections, opened when they are first needed and used on tokio's threads for blocking work.
pub(super) struct Readers {
    settings: Arc<Settings>,
    most: u32,
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
    reads: AtomicU64,
}

impl Readers {
    pub(super) fn new(settings: Settings, most: u32) -> Self {
        let most = most.clamp(1, 64);
        let places = Arc::new(Semaphore::new(most as usize));
        let reads = AtomicU64::new(0);
        Self { settings: Arc::new(settings), most, places, idle: Arc::default(), reads }
    }

    /// How many snapshots were read.
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Reads in one snapshot.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let settings = Arc::clone(&self.settings);
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return Err(closed(&settings.path));
        };
        let idle = Arc::clone(&self.idle);
        let blocking = tokio::task::spawn_blocking(move || {
            let _place = place;
            let spare = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let conn = match spare {
                Some(conn) => conn,
                None => open_reader(&settings)?,
            };
            let answer = snapshot(&conn, read)
                .map_err(|error| storage_error(&settings.path, doing, &Arc::new(error)));
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            answer
        });
        // Only a panic or the end of the tokio runtime leaves no answer.
        blocking.await.unwrap_or_else(|_| Err(closed(&self.settings.path)))
    }

    /// Lets nobody read any more, and closes the connections once those who read are done.
    pub(super) async fn close(&self) {
        let _all = self.places.acquire_many(self.most).await;
        self.places.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn snapshot<T>(
    conn: &Connection,
    read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let tx = conn.unchecked_transaction()?;
    let answer = read(&tx)?;
    tx.commit()?;
    Ok(answer)
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("places", &self.places).finish_non_exhaustive()
    }
}
