//! Real database servers for tests: found on the machine, else installed, never in a container.
//!
//! One server of a kind is shared by all tests and processes of a run; each test works in a schema of its own. It ends, and
//! its data with it, when the last process that used it has ended, however that ended.

mod account;
mod binaries;
mod certificate;
mod cluster;
mod disk;
mod mariadb;
mod port;
mod proxy;
mod skipped;

use std::{
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

pub use self::{cluster::Cluster, disk::SmallDisk, mariadb::Mariadb, proxy::Proxy};

/// A major version of PostgreSQL that is newer than what most machines have.
pub const NEWER: &str = "18";

/// The PostgreSQL server that is shared by all who ask, on the machine's own version or on the one that `EVERTASK_TEST_PG`
/// names.
///
/// `None` if there is none and none can be installed, which is said loudly: also where the output of tests is captured.
///
/// # Panics
/// Where `CI` is set, instead of returning `None`: there, nothing is passed over.
pub fn postgres() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    SHARED
        .get_or_init(|| or_say(binaries::postgres().and_then(|it| Cluster::shared(it, &place()))))
        .as_ref()
}

/// The same of [`NEWER`].
///
/// # Panics
/// As [`postgres`].
pub fn newer_postgres() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    let start = || binaries::postgres_of(Some(NEWER)).and_then(|it| Cluster::shared(it, &place()));
    SHARED.get_or_init(|| or_say(start())).as_ref()
}

/// A PostgreSQL server for one test alone, which may stop and kill it; with every commit synced to the disk.
///
/// # Panics
/// As [`postgres`].
pub fn own_postgres() -> Option<Cluster> {
    or_say(binaries::postgres().and_then(|binaries| Cluster::own(binaries, &place())))
}

/// The same with its data in this place.
///
/// # Panics
/// As [`postgres`].
pub fn own_postgres_on(place: &Path) -> Option<Cluster> {
    or_say(binaries::postgres().and_then(|binaries| Cluster::own(binaries, place)))
}

/// A disk with so little room. `None`, and told loudly, where none can be made.
///
/// # Panics
/// As [`postgres`].
pub fn small_disk(megabytes: u64) -> Option<SmallDisk> {
    or_say(SmallDisk::mount(megabytes))
}

/// Where servers have their data.
fn place() -> PathBuf {
    std::env::temp_dir().join(format!("evertask-servers-{}", account::user_id()))
}

/// A PostgreSQL server for one test alone that speaks TLS on a port of `localhost`, under a certificate for that name.
///
/// # Panics
/// As [`postgres`].
pub fn postgres_with_tls() -> Option<Cluster> {
    or_say(binaries::postgres().and_then(|it| Cluster::own_with_tls(it, &place())))
}

/// A pgbouncer in front of the shared PostgreSQL server, which gives each transaction another session.
///
/// # Panics
/// As [`postgres`].
pub fn pgbouncer() -> Option<&'static Proxy> {
    static SHARED: OnceLock<Option<Proxy>> = OnceLock::new();
    SHARED.get_or_init(|| pgbouncer_of(postgres()?)).as_ref()
}

/// The same in front of this server.
///
/// # Panics
/// As [`postgres`].
pub fn pgbouncer_of(server: &Cluster) -> Option<Proxy> {
    or_say(Proxy::start(server))
}

/// The MariaDB server that is shared by all who ask.
///
/// # Panics
/// As [`postgres`].
pub fn mariadb() -> Option<&'static Mariadb> {
    static SHARED: OnceLock<Option<Mariadb>> = OnceLock::new();
    SHARED
        .get_or_init(|| or_say(binaries::mariadb().and_then(|it| Mariadb::shared(it, &place()))))
        .as_ref()
}

/// A MariaDB server for one test alone, which may kill it; with every commit synced to the disk.
///
/// # Panics
/// As [`postgres`].
pub fn own_mariadb() -> Option<Mariadb> {
    or_say(binaries::mariadb().and_then(|binaries| Mariadb::own(binaries, &place())))
}

/// A MariaDB server for one test alone that speaks TLS on a port of `localhost`, under a certificate for that name.
///
/// # Panics
/// As [`postgres`].
pub fn mariadb_with_tls() -> Option<Mariadb> {
    or_say(binaries::mariadb().and_then(|binaries| Mariadb::own_with_tls(binaries, &place())))
}

/// One for one test alone, as [`own_mariadb`], with its data in this place.
///
/// # Panics
/// As [`postgres`].
pub fn own_mariadb_on(place: &Path) -> Option<Mariadb> {
    or_say(binaries::mariadb().and_then(|binaries| Mariadb::own(binaries, place)))
}

/// The same with room in memory and in its log, as one has that is to be fast: what it does is not held up by how small it is.
///
/// # Panics
/// As [`postgres`].
pub fn roomy_mariadb_on(place: &Path) -> Option<Mariadb> {
    or_say(binaries::mariadb().and_then(|binaries| Mariadb::roomy(binaries, place)))
}

/// The library that, loaded before others, gives a program another wall clock: libfaketime.
///
/// # Panics
/// As [`postgres`].
pub fn faketime() -> Option<PathBuf> {
    static SHARED: OnceLock<Option<PathBuf>> = OnceLock::new();
    SHARED.get_or_init(|| or_say(binaries::faketime())).clone()
}

/// A name for a schema that no other test uses.
pub fn schema() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn or_say<T>(server: Result<T, String>) -> Option<T> {
    match server {
        Ok(server) => Some(server),
        Err(why) if std::env::var_os("CI").is_some() => {
            panic!("no server for the tests, and `CI` is set: {why}")
        }
        Err(why) => {
            skipped::say(&why);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    /// As on a machine that has none of them: what is missing is installed.
    #[test]
    fn every_kind_of_server_is_there_or_gets_there() {
        let Some(newer) = super::newer_postgres() else { return };
        assert!(newer.is_up() && newer.major() == super::NEWER);
        let Some(machines) = super::postgres() else { return };
        assert!(machines.is_up());
        let Some(mariadb) = super::mariadb() else { return };
        assert!(mariadb.is_up());
        let (proxy, clock) = (super::pgbouncer(), super::faketime());
        assert!(proxy.is_some() && clock.is_some_and(|library| library.exists()));
    }
}
