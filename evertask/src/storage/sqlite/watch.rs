//! An eye on other processes that use the same file: SQLite wakes nobody.
//!
//! About once a second, without any SQL, it looks whether the log has changed and whether the locks of other nodes are still
//! held. Only while a node of this storage is alive.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    io,
    path::{Path, PathBuf},
    sync::{
        Weak,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, SystemTime},
};

use super::{Inner, liveness::Liveness};
use crate::storage::NodeId;

/// A thread that looks; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    _stop: Sender<()>,
}

impl Watch {
    /// Starts to look. `None` if there is no thread for it: then the slow look of the runtime has to do.
    pub(super) fn start(database: &Path, storage: Weak<Inner>) -> Option<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let mut eye = Eye::new(database);
        let look = move || {
            while stopped.recv_timeout(pause()) == Err(RecvTimeoutError::Timeout) {
                let Some(storage) = storage.upgrade() else { break };
                eye.look(&storage);
            }
        };
        let thread = thread::Builder::new().name("evertask-watch".to_owned()).spawn(look);
        thread.ok().map(|_| Self { _stop: stop })
    }
}

/// What was seen last.
#[derive(Debug)]
pub(super) struct Eye {
    log: PathBuf,
    stamp: Option<(SystemTime, u64)>,
    changed: Option<SystemTime>,
    /// Nothing yet at the first look.
    living: Option<HashSet<NodeId>>,
}

impl Eye {
    pub(super) fn new(database: &Path) -> Self {
        let mut log = OsString::from(database);
        log.push("-wal");
        let log = PathBuf::from(log);
        Self { stamp: stamp(&log), log, changed: None, living: None }
    }

    pub(super) fn look(&mut self, storage: &Inner) {
        if self.log_changed() {
            // It may well have been our own writer. That one knows.
            storage.writer.look();
        }
        // If they cannot be read now, they can be at the next look.
        if let Ok(living) = self.living_now(&storage.liveness) {
            // Who died between the start of a node and the first look here has been seen alive by that node and dead by nobody.
            if self.living.as_ref().is_none_or(|was| was.difference(&living).next().is_some()) {
                storage.bell.peers();
            }
            self.living = Some(living);
        }
    }

    /// The other nodes that live. The directory is read only if a file has come or gone.
    fn living_now(&mut self, liveness: &Liveness) -> io::Result<HashSet<NodeId>> {
        let was = std::mem::replace(&mut self.changed, liveness.changed());
        if was != self.changed {
            return liveness.living();
        }
        let mut living = HashSet::new();
        for node in self.living.iter().flatten() {
            if liveness.is_held(*node)? {
                living.insert(*node);
            }
        }
        Ok(living)
    }

    /// True if the log is another one than at the last look.
    pub(super) fn log_changed(&mut self) -> bool {
        let was = std::mem::replace(&mut self.stamp, stamp(&self.log));
        was != self.stamp
    }
}

fn stamp(log: &Path) -> Option<(SystemTime, u64)> {
    let log = fs::metadata(log).ok()?;
    Some((log.modified().ok()?, log.len()))
}

/// A second, more or less, so that processes do not look in step.
fn pause() -> Duration {
    let random = RandomState::new().build_hasher().finish();
    Duration::from_millis(800 + random % 400)
}
