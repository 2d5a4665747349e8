//! What can be chosen about a database when it is opened.

use std::{
    path::{self, Path},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    Inner, Sqlite,
    connection::Settings,
    liveness::Liveness,
    migrations::{self, Step},
    readers::Readers,
    writer::Writer,
};
use crate::storage::{Bell, Clock, StorageError};

/// How to open a [`Sqlite`].
#[derive(Debug, Clone)]
#[must_use]
pub struct SqliteOptions {
    durable: bool,
    busy_timeout: Duration,
    readers: u32,
    allow_network: bool,
    clock: Clock,
    /// What it may do to the tables; other than ours only in tests, which are other releases there.
    steps: &'static [Step],
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            durable: true,
            busy_timeout: Duration::from_secs(5),
            readers: 4,
            allow_network: false,
            clock: Clock::system(),
            steps: migrations::STEPS,
        }
    }
}

impl SqliteOptions {
    /// False: a loss of power, or of the operating system, may take the last commits with it. A crash of the program never does.
    /// The default is true.
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Where the time comes from: the host's clock by default.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// As a release that knows these steps.
    #[cfg(test)]
    pub(super) fn steps(mut self, steps: &'static [Step]) -> Self {
        self.steps = steps;
        self
    }

    /// How many connections read at the same time, 1 to 64. The default is 4; they are opened when needed.
    pub fn readers(mut self, readers: u32) -> Self {
        self.readers = readers;
        self
    }

    /// How long to wait while another process writes, before a call fails as unavailable. The default is 5 s.
    pub fn busy_timeout(mut self, busy_timeout: Duration) -> Self {
        self.busy_timeout = busy_timeout;
        self
    }

    /// True: open the file even if it lies on a network file system. Tasks may run twice or be lost if its locks do not hold.
    ///
    /// Only on Linux is it known what lies on one; elsewhere nothing is refused.
    pub fn allow_network_filesystem(mut self, allow: bool) -> Self {
        self.allow_network = allow;
        self
    }

    /// Opens the file, or makes it if there is none. Missing directories are not made.
    ///
    /// # Errors
    /// As for [`Sqlite::open`].
    pub async fn open(self, path: impl AsRef<Path>) -> Result<Sqlite, StorageError> {
        let path = path.as_ref();
        // Wherever the program goes later, the file stays the same.
        let path = match path::absolute(path) {
            Ok(absolute) if path.as_os_str() != ":memory:" => absolute,
            _ => path.to_path_buf(),
        };
        let settings = Settings {
            path: path.clone(),
            durable: self.durable,
            busy_timeout: self.busy_timeout,
            allow_network: self.allow_network,
            steps: self.steps,
        };
        let bell = Arc::new(Bell::new());
        let writer = Writer::open(settings.clone(), self.clock.clone(), Arc::clone(&bell)).await?;
        let liveness = Liveness::beside(&path);
        let readers = Readers::new(settings, self.readers);
        let clock = self.clock;
        let watch = Mutex::default();
        Ok(Sqlite(Arc::new(Inner {
            path,
            bell,
            clock,
            readers,
            writer,
            liveness: Arc::new(liveness),
            watch,
        })))
    }
}
