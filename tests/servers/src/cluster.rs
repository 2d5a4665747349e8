//! A running server with its data.

use std::{
    fs::{self, File},
    io,
    os::unix::{fs::PermissionsExt, net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{account::Account, binaries::Binaries, certificate, port};

/// Nothing that is written there is worth keeping; what a power failure would do to it is not on trial.
const CARELESS: &str = "-c fsync=off -c full_page_writes=off";

/// A PostgreSQL server, for as long as this and the process live.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    binaries: Binaries,
    account: Option<Account>,
    settings: &'static str,
    /// Where it speaks TLS, if it does: on this port of `localhost`.
    tls: Option<u16>,
    /// While anybody holds it, the server is kept.
    _used: File,
    own: bool,
}

impl Cluster {
    /// The server that all processes share which ask for this version.
    pub(crate) fn shared(binaries: Binaries, place: &Path) -> Result<Self, String> {
        let name = format!("postgres-{}", binaries.major);
        Self::start(binaries, &place.join(name), CARELESS, None, false)
    }

    /// A server for one test.
    pub(crate) fn own(binaries: Binaries, place: &Path) -> Result<Self, String> {
        Self::start(binaries, &place.join(Self::name_of_own()), "", None, true)
    }

    /// A server for one test that speaks TLS.
    pub(crate) fn own_with_tls(binaries: Binaries, place: &Path) -> Result<Self, String> {
        let port = Some(port::free()?);
        Self::start(binaries, &place.join(Self::name_of_own()), CARELESS, port, true)
    }

    fn name_of_own() -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        format!("own-{}-{number}", std::process::id())
    }

    fn start(
        binaries: Binaries,
        directory: &Path,
        settings: &'static str,
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
        let cluster =
            Self { directory: directory.to_owned(), binaries, account, settings, tls, _used, own };
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
        format!(
            "postgres://postgres@/postgres?host={}&port={}",
            self.directory.display(),
            self.port()
        )
    }

    /// How a client reaches it over TCP, by one of the names of this machine, with these parameters.
    ///
    /// # Panics
    /// When it does not listen there.
    pub fn tls_url(&self, host: &str, parameters: &str) -> String {
        let port = self.tls.expect("a server that speaks TLS");
        format!("postgres://postgres@{host}:{port}/postgres?{parameters}")
    }

    /// The certificate of the authority by which it is known.
    pub fn authority(&self) -> PathBuf {
        self.directory.join("authority.crt")
    }

    /// The socket it listens on.
    pub fn socket(&self) -> PathBuf {
        self.directory.join(format!(".s.PGSQL.{}", self.port()))
    }

    /// Where its socket is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// From now on its log has every statement, after the name of the application that sent it.
    ///
    /// # Panics
    /// When it cannot be told so.
    pub fn log_statements(&self) {
        let settings = "log_statement = 'all'\nlog_line_prefix = '%a '\n";
        fs::write(self.data().join("postgresql.auto.conf"), settings).expect("its settings");
        self.control(&["reload"]).expect("it reads them again");
    }

    /// What it has logged.
    ///
    /// # Panics
    /// When that cannot be read.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).expect("its log")
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

    fn port(&self) -> u16 {
        self.tls.unwrap_or(5432)
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
        run(initdb)?;
        self.tls.map_or(Ok(()), |_| certificate::make(&self.directory, self.account))
    }

    fn bring_up(&self) -> Result<(), String> {
        let (place, port, settings) = (self.directory.display(), self.port(), self.settings);
        let tls = match self.tls {
            Some(_) => format!(
                "-c listen_addresses=localhost -c ssl=on -c ssl_cert_file='{place}/server.crt' \
                 -c ssl_key_file='{place}/server.key'"
            ),
            None => "-c listen_addresses=''".to_owned(),
        };
        let options = format!(
            "-c port={port} -c unix_socket_directories='{place}' -c max_connections=400 -c shared_buffers=256MB \
             -c max_wal_size=4GB {tls} {settings}"
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

pub(crate) fn run(mut command: Command) -> Result<(), String> {
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
