//! A proxy in front of a server that gives each transaction another session: pgbouncer.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{Cluster, account::Account, binaries};

/// A proxy, for as long as this and the process live.
#[derive(Debug)]
pub struct Proxy {
    directory: PathBuf,
    /// Ends the proxy when its input ends, as it does with this process at the latest.
    _keeper: Child,
}

impl Proxy {
    pub(crate) fn start(server: &Cluster) -> Result<Self, String> {
        let program = binaries::pgbouncer()?;
        let directory = server.directory().join(format!("proxy-{}", std::process::id()));
        let failed = |error| format!("{}: {error}", directory.display());
        fs::create_dir_all(&directory).map_err(failed)?;
        let config = directory.join("pgbouncer.ini");
        fs::write(&config, configuration(server.directory(), &directory)).map_err(failed)?;
        let run = "\"$1\" --quiet \"$2\" & cat > /dev/null; kill $!; rm -rf \"$3\"";
        let mut keeper = Command::new("sh");
        keeper.args(["-c", run, "sh"]).arg(program).arg(&config).arg(&directory);
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(account) = Account::for_servers() {
            account.own(&directory).map_err(failed)?;
            account.run(&mut keeper);
        }
        let keeper = keeper.current_dir(&directory).spawn().map_err(failed)?;
        let proxy = Self { directory, _keeper: keeper };
        let start = Instant::now();
        while UnixStream::connect(proxy.socket()).is_err() {
            if start.elapsed() > Duration::from_secs(20) {
                return Err(format!("pgbouncer does not start; see {}", proxy.directory.display()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(proxy)
    }

    /// The socket it listens on.
    pub fn socket(&self) -> PathBuf {
        self.directory.join(".s.PGSQL.6432")
    }

    /// How a client reaches the server through it.
    pub fn url(&self) -> String {
        format!("postgres://postgres@/postgres?host={}&port=6432", self.directory.display())
    }
}

fn configuration(server: &Path, directory: &Path) -> String {
    let (server, directory) = (server.display(), directory.display());
    // Few sessions, so that transactions of one client go over many of them.
    format!(
        "[databases]\npostgres = host={server} port=5432 dbname=postgres user=postgres\n\
         [pgbouncer]\nlisten_addr =\nlisten_port = 6432\nunix_socket_dir = {directory}\nlogfile = {directory}/log\n\
         auth_type = any\npool_mode = transaction\ndefault_pool_size = 5\nserver_round_robin = 1\nmax_client_conn = 500\n"
    )
}
