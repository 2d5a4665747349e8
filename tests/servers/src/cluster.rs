//! A running server with its data.

use std::{
    fs::{self, File},
    io,
    os::unix::{fs::PermissionsExt, net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{account::Account, binaries::Binaries};

/// Nothing that is written there is worth keeping; what a power failure would do to it is not on trial.
const CARELESS: &str = "-c fsync=off -c full_page_writes=off";

/// A PostgreSQL server, for as long as this and the process live.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    binaries: Binaries,
    account: Option<Account>,
    settings: &'static str,
    /// While anybody holds it, the server is kept.
    _used: File,
    own: bool,
}

impl Cluster {
    /// The server that all processes share which ask for this version.
    pub(crate) fn shared(binaries: Binaries, place: &Path) -> Result<Self, String> {
        let name = format!("postgres-{}", binaries.major);
        Self::start(binaries, &place.join(name), CARELESS, false)
    }

    /// A server for one test.
    pub(crate) fn own(binaries: Binaries, place: &Path) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("own-{}-{number}", std::process::id());
        Self::start(binaries, &place.join(name), "", true)
    }

    fn start(
        binaries: Binaries,
        directory: &Path,
        settings: &'static str,
        own: bool,
    ) -> Result<Self, String> {
        let failed =
            |what: &str, error: io::Error| format!("{what} {}: {error}", directory.display());
        fs::create_dir_all(directory).map_err(|error| failed("cannot make", error))?;
        let lock = |file| File::create(directory.join(file));
        // Waits while the server of an earlier run is being stopped.
        let used = lock("used").and_then(|file| file.lock_shared().map(|()| file));
        let _used = used.map_err(|error| failed("cannot lock", error))?;
        let account = Account::for_servers();
        let cluster =
            Self { directory: directory.to_owned(), binaries, account, settings, _used, own };
        // One at a time looks whether it runs, and starts it.
        let starting = lock("starting").and_then(|file| file.lock().map(|()| file));
        let _starting = starting.map_err(|error| failed("cannot lock", error))?;
        if !cluster.is_up() {
            cluster.create()?;
            cluster.bring_up()?;
            cluster.watch()?;
        }
        Ok(cluster)
    }

    /// How a client reaches it.
    pub fn url(&self) -> String {
        format!("postgres://postgres@/postgres?host={}", self.directory.display())
    }

    /// The socket it listens on.
    pub fn socket(&self) -> PathBuf {
        self.directory.join(".s.PGSQL.5432")
    }

    /// Where its socket is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its major version.
    pub fn major(&self) -> &str {
        &self.binaries.major
    }

    /// Ends it as a crash would, and starts it again.
    ///
    /// # Panics
    /// When it does not start.
    pub fn crash_and_restart(&self) {
        self.crash();
        self.bring_up().expect("the server starts again");
    }

    /// Ends it as a crash would.
    ///
    /// # Panics
    /// When it cannot be ended.
    pub fn crash(&self) {
        self.control(&["-m", "immediate", "stop"]).expect("the server is stopped");
    }

    /// Starts it again.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&self) {
        self.bring_up().expect("the server starts again");
    }

    /// It can be connected to.
    pub fn is_up(&self) -> bool {
        UnixStream::connect(self.socket()).is_ok()
    }

    /// Makes an empty cluster in the place of whatever is there.
    fn create(&self) -> Result<(), String> {
        let data = self.data();
        let _none = fs::remove_dir_all(&data);
        fs::create_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
        let private = fs::Permissions::from_mode(0o700);
        let owned = fs::set_permissions(&data, private).and_then(|()| match self.account {
            Some(account) => account.own(&data).and_then(|()| account.own(&self.directory)),
            None => Ok(()),
        });
        owned.map_err(|error| format!("{}: {error}", data.display()))?;
        let mut initdb = self.program("initdb");
        initdb.arg("-D").arg(&data);
        initdb.args(["-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"]);
        run(initdb).map(drop)
    }

    fn bring_up(&self) -> Result<(), String> {
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c max_connections=400 \
             -c shared_buffers=256MB -c max_wal_size=4GB {}",
            self.directory.display(),
            self.settings
        );
        self.control(&["-w", "-t", "60", "-o", &options, "start"])
    }

    fn control(&self, arguments: &[&str]) -> Result<(), String> {
        let mut control = self.program("pg_ctl");
        control.arg("-D").arg(self.data()).arg("-l").arg(self.directory.join("log"));
        control.args(arguments);
        run(control)
    }

    /// Leaves a process behind that stops the server and clears its place once nobody uses it any more.
    fn watch(&self) -> Result<(), String> {
        let stop = "\"$1\" -D \"$2\" -m immediate stop; rm -rf \"$2\" \"$3\"/log";
        let mut watch = Command::new("flock");
        watch.arg("--exclusive").arg(self.directory.join("used")).args(["sh", "-c", stop, "sh"]);
        watch.arg(self.binaries.directory.join("pg_ctl")).arg(self.data()).arg(&self.directory);
        watch.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        // Not in the terminal's group: an interrupt is for the tests alone.
        watch.process_group(0);
        if let Some(account) = self.account {
            account.run(&mut watch);
        }
        let started = watch.spawn().map(drop);
        started.map_err(|error| format!("`flock` is needed to stop servers at the end: {error}"))
    }

    fn program(&self, name: &str) -> Command {
        let mut program = Command::new(self.binaries.directory.join(name));
        program.current_dir(&self.directory);
        if let Some(account) = self.account {
            account.run(&mut program);
        }
        program
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.own {
            let _stopped = self.control(&["-m", "immediate", "stop"]);
            let _cleared = fs::remove_dir_all(&self.directory);
        }
    }
}

fn run(mut command: Command) -> Result<(), String> {
    let program = command.get_program().display().to_string();
    let done = command.stdin(Stdio::null()).stdout(Stdio::null()).output();
    let done = done.map_err(|error| format!("`{program}` cannot be run: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!("`{program}` failed ({}): {said}", done.status))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_shared_server_is_one_and_a_server_of_ones_own_comes_and_goes() {
        let Some(shared) = crate::postgres() else { return };
        assert!(shared.is_up() && crate::postgres().unwrap().url() == shared.url());
        let own = crate::own_postgres().unwrap();
        assert!(own.is_up() && own.url() != shared.url());
        own.crash();
        assert!(!own.is_up());
        own.restart();
        assert!(own.is_up());
        let place = own.directory.clone();
        drop(own);
        assert!(!place.exists());
    }
}
