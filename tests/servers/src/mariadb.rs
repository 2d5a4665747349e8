//! A running MariaDB server with its data.

use std::{
    fs::{self, File},
    io,
    os::unix::{fs::PermissionsExt, net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use crate::{account::Account, binaries::MariadbBinaries, certificate, port};

/// Nothing that is written there is worth keeping; what a power failure would do to it is not on trial.
const CARELESS: &[&str] = &[
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=OFF",
    "--innodb-buffer-pool-size=256M",
    "--innodb-log-file-size=256M",
];
/// Every commit synced, as it is meant to be; on a disk that may be small.
const CAREFUL: &[&str] = &[
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=32M",
];
/// The same with as much room as the PostgreSQL servers here have.
const ROOMY: &[&str] = &[
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-buffer-pool-size=256M",
    "--innodb-log-file-size=1G",
];
/// How long it may take to start, on a machine that has much else to do.
const START: Duration = Duration::from_secs(120);

/// A MariaDB server with an empty database named `evertask`, for as long as this and the process live.
#[derive(Debug)]
pub struct Mariadb {
    directory: PathBuf,
    binaries: MariadbBinaries,
    account: Option<Account>,
    settings: &'static [&'static str],
    /// Where it speaks TLS, if it does: on this port of `localhost`.
    tls: Option<u16>,
    /// While anybody holds it, the server is kept.
    _used: File,
    own: bool,
}

impl Mariadb {
    /// The server that all processes share.
    pub(crate) fn shared(binaries: MariadbBinaries, place: &Path) -> Result<Self, String> {
        Self::start(binaries, &place.join("mariadb"), CARELESS, None, false)
    }

    /// A server for one test, with its data in this place.
    pub(crate) fn own(binaries: MariadbBinaries, place: &Path) -> Result<Self, String> {
        Self::start(binaries, &place.join(Self::name_of_own()), CAREFUL, None, true)
    }

    /// A server to be measured, with its data in this place.
    pub(crate) fn roomy(binaries: MariadbBinaries, place: &Path) -> Result<Self, String> {
        Self::start(binaries, &place.join(Self::name_of_own()), ROOMY, None, true)
    }

    /// A server for one test that speaks TLS.
    pub(crate) fn own_with_tls(binaries: MariadbBinaries, place: &Path) -> Result<Self, String> {
        let port = Some(port::free()?);
        Self::start(binaries, &place.join(Self::name_of_own()), CARELESS, port, true)
    }

    fn name_of_own() -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        format!("own-mariadb-{}-{number}", std::process::id())
    }

    fn start(
        binaries: MariadbBinaries,
        directory: &Path,
        settings: &'static [&'static str],
        tls: Option<u16>,
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
        let server = Self {
            directory: directory.to_path_buf(),
            binaries,
            account,
            settings,
            tls,
            _used,
            own,
        };
        // One at a time looks whether it runs, and starts it.
        let starting = lock("starting").and_then(|file| file.lock().map(|()| file));
        let _starting = starting.map_err(|error| failed("cannot lock", error))?;
        if !server.is_up() {
            server.create()?;
            server.bring_up()?;
            server.watch()?;
        }
        Ok(server)
    }

    /// How a client reaches its database `evertask`.
    pub fn url(&self) -> String {
        self.url_of("evertask")
    }

    /// How a client reaches this database of it.
    pub fn url_of(&self, database: &str) -> String {
        format!("mysql://root@localhost/{database}?socket={}", self.socket().display())
    }

    /// How this user reaches its database `evertask` over TCP, by one of the names of this machine, with these parameters.
    ///
    /// # Panics
    /// When it does not listen there.
    pub fn tls_url(&self, user: &str, host: &str, parameters: &str) -> String {
        let port = self.tls.expect("a server that speaks TLS");
        format!("mysql://{user}@{host}:{port}/evertask?{parameters}")
    }

    /// The certificate of the authority by which it is known.
    pub fn authority(&self) -> PathBuf {
        self.directory.join("authority.crt")
    }

    /// Ends it as a crash would: with SIGKILL.
    ///
    /// # Panics
    /// When it cannot be ended.
    pub fn crash(&self) {
        self.kill().expect("the server is killed");
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

    /// Makes an empty data directory in the place of whatever is there.
    fn create(&self) -> Result<(), String> {
        let data = self.data();
        let failed = |error| format!("{}: {error}", data.display());
        let _none = fs::remove_dir_all(&data);
        fs::create_dir_all(&data).map_err(failed)?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        fs::create_dir_all(self.temporary()).map_err(failed)?;
        if let Some(account) = self.account {
            let own = account.own(&data).and_then(|()| account.own(&self.temporary()));
            own.and_then(|()| account.own(&self.directory)).map_err(failed)?;
        }
        // Run by the server at each of its starts.
        let first = "CREATE DATABASE IF NOT EXISTS evertask;\n";
        fs::write(self.directory.join("first.sql"), first).map_err(failed)?;
        let mut install = self.program("mariadb-install-db");
        install.args(["--no-defaults", "--auth-root-authentication-method=normal"]);
        install.args(["--skip-name-resolve", "--skip-test-db"]).arg(self.option("datadir", &data));
        let done = install.stdin(Stdio::null()).output();
        let done = done.map_err(|error| format!("`mariadb-install-db` cannot be run: {error}"))?;
        if done.status.success() {
            return self.tls.map_or(Ok(()), |_| certificate::make(&self.directory, self.account));
        }
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        Err(format!("`mariadb-install-db` failed ({}): {said}", done.status))
    }

    fn bring_up(&self) -> Result<(), String> {
        // Started by a shell that ends at once, so that no zombie of ours is left when it is killed.
        let run = "log=\"$1\"; shift; \"$@\" >>\"$log\" 2>&1 </dev/null &";
        let mut server = self.program("sh");
        server.args(["-c", run, "sh"]).arg(self.directory.join("log"));
        server.arg(&self.binaries.server).arg("--no-defaults");
        server.arg(self.option("datadir", &self.data()));
        server.arg(self.option("socket", &self.socket()));
        server.arg(self.option("pid-file", &self.pid_file()));
        server.arg(self.option("init-file", &self.directory.join("first.sql")));
        match self.tls {
            Some(port) => {
                server.args(["--bind-address=127.0.0.1".to_owned(), format!("--port={port}")]);
                server.arg(self.option("ssl-cert", &self.directory.join("server.crt")));
                server.arg(self.option("ssl-key", &self.directory.join("server.key")));
            }
            None => drop(server.arg("--skip-networking")),
        }
        server.args(["--skip-name-resolve", "--max-connections=600"]);
        server.args(["--performance-schema=OFF"]).args(self.settings);
        // Not in the terminal's group: an interrupt is for the tests alone.
        server.stdin(Stdio::null()).process_group(0);
        let started = server.status();
        started.map_err(|error| format!("`mariadbd` cannot be run: {error}"))?;
        let start = Instant::now();
        while !self.is_up() {
            if start.elapsed() > START {
                let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                return Err(format!("`mariadbd` does not start: {log}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Leaves a process behind that kills the server and clears its place once nobody uses it any more.
    fn watch(&self) -> Result<(), String> {
        let stop = "kill -9 \"$(cat \"$1\")\"; rm -rf \"$2\" \"$3\"/log \"$3\"/temporary";
        let mut watch = Command::new("flock");
        watch.arg("--exclusive").arg(self.directory.join("used")).args(["sh", "-c", stop, "sh"]);
        watch.arg(self.pid_file()).arg(self.data()).arg(&self.directory);
        watch.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        watch.process_group(0);
        if let Some(account) = self.account {
            account.run(&mut watch);
        }
        let started = watch.spawn().map(drop);
        started.map_err(|error| format!("`flock` is needed to stop servers at the end: {error}"))
    }

    fn kill(&self) -> Result<(), String> {
        let pid = fs::read_to_string(self.pid_file()).map_err(|error| error.to_string())?;
        let killed = Command::new("kill").args(["-9", pid.trim()]).status();
        if !killed.is_ok_and(|status| status.success()) {
            return Err(format!("the process {} cannot be killed", pid.trim()));
        }
        // It may take a moment, and until then its files are not ours. What is dead but not yet buried has no arguments.
        let arguments = format!("/proc/{}/cmdline", pid.trim());
        let lives = || fs::read(&arguments).is_ok_and(|arguments| !arguments.is_empty());
        let start = Instant::now();
        while (lives() || self.is_up()) && start.elapsed() < START {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn program(&self, name: &str) -> Command {
        let mut program = Command::new(name);
        program.current_dir(&self.directory).env("TMPDIR", self.temporary());
        if let Some(account) = self.account {
            account.run(&mut program);
        }
        program
    }

    fn option(&self, name: &str, path: &Path) -> String {
        format!("--{name}={}", path.display())
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Where it keeps what it needs for a moment. A server that starts deletes what looks so in this place, whosever it is.
    fn temporary(&self) -> PathBuf {
        self.directory.join("temporary")
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    fn pid_file(&self) -> PathBuf {
        self.directory.join("pid")
    }
}

impl Drop for Mariadb {
    fn drop(&mut self) {
        if self.own {
            let _killed = self.kill();
            let _cleared = fs::remove_dir_all(&self.directory);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_shared_server_is_one_and_a_server_of_ones_own_comes_and_goes() {
        let Some(shared) = crate::mariadb() else { return };
        assert!(shared.is_up() && crate::mariadb().unwrap().url() == shared.url());
        let own = crate::own_mariadb().unwrap();
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
