//! Who lives: each node holds a lock on a file of its own beside the database, which the operating system takes back from a
//! dead process at once.
//!
//! `tasks.db-nodes/<node>.lock`. Never the database file itself: closing it would drop SQLite's own locks on it.
//! A node is dead if its file can be locked or is not there. So a file must be locked before its node holds any task, and is
//! removed only by someone who has locked it.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use crate::storage::NodeId;

/// The lock files beside one database, and those of them that this storage holds.
#[derive(Debug)]
pub(super) struct Liveness {
    directory: PathBuf,
    held: Mutex<HashMap<NodeId, File>>,
}

impl Liveness {
    pub(super) fn beside(database: &Path) -> Self {
        let mut directory = OsString::from(database);
        directory.push("-nodes");
        Self { directory: directory.into(), held: Mutex::default() }
    }

    /// From now on the node counts as alive, also if it did not before. Blocks, but not for long.
    pub(super) fn join(&self, node: NodeId) -> io::Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(node);
        // Someone may have tidied up with a broom.
        if held.contains_key(&node) && path.try_exists()? {
            return Ok(());
        }
        fs::create_dir_all(&self.directory)?;
        loop {
            let file =
                File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
            match file.try_lock() {
                // A look at a file that was not locked yet may have taken it for a dead node's and removed it. Now that it is
                // locked nobody else will.
                Ok(()) if path.try_exists()? => {
                    held.insert(node, file);
                    return Ok(());
                }
                // Removed, or someone is looking at this very moment.
                Ok(()) | Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// The node counts as dead from now on, if it is one of this storage.
    pub(super) fn leave(&self, node: NodeId) {
        let file = self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
        if let Some(file) = file {
            // Before the lock goes, so that it is removed under the lock. If it cannot be removed, the next look does it.
            let _still_there = fs::remove_file(self.path(node));
            drop(file);
        }
    }

    /// All nodes of this storage count as dead from now on.
    pub(super) fn leave_all(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes: Vec<NodeId> = held.keys().copied().collect();
        drop(held);
        for node in nodes {
            self.leave(node);
        }
    }

    /// True if a node of this storage is alive.
    pub(super) fn holds_any(&self) -> bool {
        !self.held.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn holds(&self, node: NodeId) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&node)
    }

    /// True if the node lives. Of one that is dead, the file is removed.
    pub(super) fn is_alive(&self, node: NodeId) -> io::Result<bool> {
        let path = self.path(node);
        match locked(&path)? {
            Some(_unlocked) => {
                let _removed_by_another = fs::remove_file(&path);
                Ok(false)
            }
            None => path.try_exists(),
        }
    }

    /// When a lock file was last made or removed.
    pub(super) fn changed(&self) -> Option<SystemTime> {
        fs::metadata(&self.directory).ok()?.modified().ok()
    }

    /// True if somebody holds the lock of the node. Removes nothing.
    pub(super) fn is_held(&self, node: NodeId) -> io::Result<bool> {
        let path = self.path(node);
        Ok(locked(&path)?.is_none() && path.try_exists()?)
    }

    /// The nodes of other storages that live. Removes nothing.
    pub(super) fn living(&self) -> io::Result<HashSet<NodeId>> {
        let mut living = HashSet::new();
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(living),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            let lock = path.extension().is_some_and(|extension| extension == "lock");
            let node = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            if let (true, Some(node)) = (lock, node)
                && !self.holds(node)
                && self.is_held(node)?
            {
                living.insert(node);
            }
        }
        Ok(living)
    }

    fn path(&self, node: NodeId) -> PathBuf {
        self.directory.join(format!("{node}.lock"))
    }
}

impl Drop for Liveness {
    fn drop(&mut self) {
        self.leave_all();
    }
}

/// Tries the lock of a file: the file under our lock if nobody held it, nothing if somebody does or there is no such file.
///
/// The lock is a shared one, so that those who look do not take each other for the node.
fn locked(path: &Path) -> io::Result<Option<File>> {
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
