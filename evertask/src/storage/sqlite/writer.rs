//! The one thread that writes, and how what waits for it shares a commit.
//!
//! While one commit is under way, requests gather; when it is done, all of them run in the next transaction, and so do those that
//! come before it is committed. Nobody gets an answer before the commit that holds what he asked for. If a request fails, the
//! transaction is rolled back and each request of it runs again in one of its own, so that only the guilty one is told.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::{
    connection::{Settings, open_writer},
    crowd::{self, Batch, Crowd, REQUESTS_MAX},
    error::{closed, concerns_all, moved, storage_error},
    filesystem::identity,
    held::Rows,
    lane::Lanes,
    request::{Ask, Label, Request, Turn},
    transaction::{Rings, Transaction},
};
use crate::storage::{Bell, Clock, StorageError, StorageErrorKind};

/// So long after the last write the log is copied into the database.
const IDLE: Duration = Duration::from_secs(1);

/// The way to the thread that writes. When it is dropped, the thread does what it was asked before, closes and ends.
pub(super) struct Writer {
    path: Arc<PathBuf>,
    inbox: Mutex<Option<Sender<Box<dyn Ask>>>>,
    /// What waits is bounded: a request takes a place with it.
    places: Arc<Semaphore>,
    commits: Arc<AtomicU64>,
    ended: watch::Receiver<()>,
}

impl Writer {
    /// Opens the database on a thread of its own, which then waits for requests.
    pub(super) async fn open(
        settings: Settings,
        clock: Clock,
        bell: Arc<Bell>,
    ) -> Result<Self, StorageError> {
        let path = Arc::new(settings.path.clone());
        let (sender, inbox) = mpsc::channel();
        let (opened, is_open) = oneshot::channel();
        let (alive, ended) = watch::channel(());
        let commits = Arc::new(AtomicU64::new(0));
        let places = Arc::new(Semaphore::new(REQUESTS_MAX));
        let (at, counted, taken) = (Arc::clone(&path), Arc::clone(&commits), Arc::clone(&places));
        let run = move || {
            let _alive = alive;
            match open_writer(&settings, clock.micros()) {
                Ok(conn) => {
                    let desk = Desk::new(conn, at, clock, bell, counted, taken);
                    if opened.send(Ok(())).is_ok() {
                        desk.run(&inbox);
                    }
                }
                Err(error) => {
                    let _gone = opened.send(Err(error));
                }
            }
        };
        thread::Builder::new().name("evertask-sqlite".to_owned()).spawn(run).map_err(|error| {
            let message = "cannot open the storage: no thread can be started for it";
            StorageError::new(StorageErrorKind::Other, message).caused_by(error)
        })?;
        is_open.await.map_err(|_| closed(&path))??;
        Ok(Self { path, inbox: Mutex::new(Some(sender)), places, commits, ended })
    }

    /// Runs a transition in one of the next commits, and answers when that is done.
    ///
    /// `doing` says in an error what could not be done. Once the request is under way, dropping the future takes nothing back.
    /// The transition may be run more than once; of all runs but the last one, nothing remains.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        turn: Turn,
        rows: usize,
        doing: &'static str,
        transition: impl FnMut(&mut Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return Err(closed(&self.path));
        };
        let answer = self.send(Label { turn, rows, doing }, transition, place);
        // Without an answer, the thread has ended or never got the request.
        answer.await.unwrap_or_else(|_| Err(closed(&self.path)))
    }

    fn send<T: Send + 'static>(
        &self,
        label: Label,
        transition: impl FnMut(&mut Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
        place: OwnedSemaphorePermit,
    ) -> oneshot::Receiver<Result<T, StorageError>> {
        let (reply, answer) = oneshot::channel();
        let request = Request::new(label, transition, reply, place);
        if let Some(inbox) = &*self.inbox.lock().unwrap_or_else(PoisonError::into_inner) {
            let _closed = inbox.send(Box::new(request));
        }
        answer
    }

    /// Looks whether another process has written, if there is nothing else to do; else the next commit does.
    pub(super) fn look(&self) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let nothing = |_: &mut Transaction<'_>| Ok(());
        // Nobody waits for an answer.
        let label = Label { turn: Turn::Between, rows: 0, doing: "cannot look" };
        let _sent = self.send(label, nothing, place);
    }

    /// Sees the thread end.
    #[cfg(test)]
    pub(super) fn ended(&self) -> watch::Receiver<()> {
        self.ended.clone()
    }

    /// How many requests wait or are being served.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        REQUESTS_MAX - self.places.available_permits()
    }

    /// Takes no more requests, and waits until those that were made are done and the file is closed.
    pub(super) async fn close(&self) {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut ended = self.ended.clone();
        // Nothing is ever sent: it ends when the thread does.
        while ended.changed().await.is_ok() {}
    }

    /// How many transactions were committed.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("commits", &self.commits()).finish_non_exhaustive()
    }
}

/// Why a transaction was rolled back.
enum Failed {
    Error(Arc<rusqlite::Error>),
    Panic(String),
}

/// The thread's own side.
struct Desk {
    conn: Connection,
    path: Arc<PathBuf>,
    /// Which file it is that was opened.
    identity: Option<(u64, u64)>,
    clock: Clock,
    bell: Arc<Bell>,
    commits: Arc<AtomicU64>,
    /// Those of the requests that wait or are being served.
    places: Arc<Semaphore>,
    crowd: Crowd,
    lanes: Lanes,
    /// What is remembered of the lanes holds for the database as it was last seen.
    lanes_hold: bool,
    rows: Rows,
    /// What `PRAGMA data_version` said last: it changes when another connection has committed.
    version: Option<i64>,
    /// Another process has written, and this has not been told yet.
    others_wrote: bool,
    /// Something was written since the log was last copied.
    written: bool,
}

impl Desk {
    fn new(
        conn: Connection,
        path: Arc<PathBuf>,
        clock: Clock,
        bell: Arc<Bell>,
        commits: Arc<AtomicU64>,
        places: Arc<Semaphore>,
    ) -> Self {
        Self {
            conn,
            places,
            crowd: Crowd::new(),
            identity: identity(&path),
            path,
            clock,
            bell,
            commits,
            lanes: Lanes::default(),
            lanes_hold: false,
            rows: Rows::default(),
            version: None,
            others_wrote: false,
            written: true,
        }
    }

    fn run(mut self, inbox: &Receiver<Box<dyn Ask>>) {
        while let Some(first) = self.wait(inbox) {
            let mut batch = vec![first];
            // Before the lock is asked for: should it not be had, all who wait are told at once.
            crowd::take(inbox, &mut batch);
            self.serve(batch, inbox);
        }
    }

    /// The next request; `None` once nobody can make one any more.
    fn wait(&mut self, inbox: &Receiver<Box<dyn Ask>>) -> Option<Box<dyn Ask>> {
        if self.written {
            match inbox.recv_timeout(IDLE) {
                Ok(request) => return Some(request),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    // Best effort, and without waiting for anybody: the next commit or the next program can do it as well.
                    let _busy = self.conn.pragma_query(None, "wal_checkpoint(PASSIVE)", |_| Ok(()));
                    self.written = false;
                }
            }
        }
        inbox.recv().ok()
    }

    /// Serves these requests, and those that come meanwhile.
    fn serve(&mut self, mut batch: Batch, inbox: &Receiver<Box<dyn Ask>>) {
        let start = Instant::now();
        match self.commit(&mut batch, Some(inbox)) {
            Ok(rings) => {
                let all = REQUESTS_MAX - self.places.available_permits();
                self.crowd.served(batch.len(), all, start.elapsed());
                // First, so that whoever has an answer can rely on what it means having been told.
                rings.ring(&self.bell);
                for mut request in batch {
                    request.answer(Ok(()));
                }
            }
            Err(Failed::Error(error)) if concerns_all(&error) => {
                for mut request in batch {
                    request.answer(Err(storage_error(&self.path, request.label().doing, &error)));
                }
            }
            Err(_) => {
                for request in batch {
                    self.serve_alone(request);
                }
            }
        }
    }

    fn serve_alone(&mut self, request: Box<dyn Ask>) {
        let doing = request.label().doing;
        let mut batch = vec![request];
        let committed = match self.commit(&mut batch, None) {
            Ok(rings) => {
                rings.ring(&self.bell);
                Ok(())
            }
            Err(Failed::Error(error)) => Err(storage_error(&self.path, doing, &error)),
            Err(Failed::Panic(message)) => {
                let message = format!(
                    "{doing}: evertask itself panicked ({message}), and nothing was changed; please report this"
                );
                Err(StorageError::new(StorageErrorKind::Other, message))
            }
        };
        if let Some(mut request) = batch.pop() {
            request.answer(committed);
        }
    }

    /// Runs the requests in one transaction, and those that come meanwhile, if they are to be let in. If that fails, it leaves
    /// nothing behind but the requests.
    fn commit(
        &mut self,
        batch: &mut Batch,
        inbox: Option<&Receiver<Box<dyn Ask>>>,
    ) -> Result<Rings, Failed> {
        let tried = catch_unwind(AssertUnwindSafe(|| self.try_commit(batch, inbox)));
        let failed = match tried {
            Ok(Ok(rings)) => {
                self.commits.fetch_add(1, Ordering::Relaxed);
                self.written = true;
                return Ok(rings);
            }
            Ok(Err(error)) => Failed::Error(Arc::new(error)),
            Err(panic) => Failed::Panic(panic_text(&*panic)),
        };
        self.roll_back();
        Err(failed)
    }

    fn try_commit(
        &mut self,
        batch: &mut Batch,
        inbox: Option<&Receiver<Box<dyn Ask>>>,
    ) -> rusqlite::Result<Rings> {
        if !self.conn.is_autocommit() {
            // The last rollback did not work.
            self.conn.prepare_cached("ROLLBACK")?.execute([])?;
        }
        // SQLite would go on writing into a file that nobody can open again.
        if identity(&self.path) != self.identity {
            return Err(moved());
        }
        // A transaction that begins by reading could not be made a writing one once another process has written.
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let version =
            self.conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        let was = self.version.replace(version);
        self.others_wrote |= was.is_some_and(|was| was != version);
        if was != Some(version) || !self.lanes_hold {
            self.lanes.refresh(&self.conn)?;
            self.lanes_hold = true;
        }
        let now = self.clock.micros();
        let alone = inbox.is_none();
        let mut tx = Transaction::new(&self.conn, &mut self.lanes, &mut self.rows, now, alone);
        let mut done = 0;
        loop {
            batch[done..].sort_by_key(|request| request.label().turn);
            let claims = batch.partition_point(|request| request.label().turn < Turn::Claim);
            for request in &mut batch[done..claims] {
                request.run(&mut tx)?;
            }
            done = claims;
            if !inbox.is_some_and(|inbox| self.crowd.gather(inbox, batch)) {
                break;
            }
            // What comes now counts its delays from now.
            tx.now = self.clock.micros();
        }
        for claim in &mut batch[done..] {
            claim.run(&mut tx)?;
        }
        let mut rings = tx.rings;
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        rings.others = std::mem::take(&mut self.others_wrote);
        Ok(rings)
    }

    fn roll_back(&mut self) {
        if !self.conn.is_autocommit() {
            // Should it fail, it is tried again before the next transaction.
            let _failed = self.conn.execute_batch("ROLLBACK");
        }
        // What is remembered may never have been.
        self.lanes = Lanes::default();
        self.lanes_hold = false;
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
