//! A disk that is soon full.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// A file system in memory with little room, for as long as this lives. Only root can make one.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn mount(megabytes: u64) -> Result<Self, String> {
        if crate::account::user_id() != 0 {
            return Err("a small disk can be made by root only".to_owned());
        }
        // Tests beside each other in one process have a disk each.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("evertask-disk-{pid}-{n}"));
        let failed = |error| format!("{}: {error}", path.display());
        fs::create_dir_all(&path).map_err(failed)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "evertask"]).arg(&path);
        let done = mount.output().map_err(failed)?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            return Err(format!("no disk can be mounted here: {said}"));
        }
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves no room on it.
    ///
    /// # Panics
    /// When it cannot be written at all.
    pub fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("the disk is there");
        for size in [1 << 20, 1 << 12] {
            let some = vec![0; size];
            // The error is that there is no room left, as it is meant to be.
            while ballast.write_all(&some).is_ok() {}
        }
    }

    /// Makes room again.
    ///
    /// # Panics
    /// When it was not filled.
    pub fn make_room(&self) {
        fs::remove_file(self.ballast()).expect("it was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whatever still stands on it keeps it until that has ended.
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).output();
        let _removed = fs::remove_dir(&self.0);
    }
}
