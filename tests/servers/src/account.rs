//! As whom servers run: PostgreSQL refuses to run as root.

use std::{
    fs, io,
    os::unix::{fs::chown, process::CommandExt},
    path::Path,
    process::Command,
};

/// An ordinary user to run servers as, where the tests run as root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// `None` where the tests run as an ordinary user themselves.
    pub(crate) fn for_servers() -> Option<Self> {
        (user_id() == 0).then(|| find("postgres").or_else(|| find("nobody"))).flatten()
    }

    pub(crate) fn own(self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
    }

    pub(crate) fn run(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }
}

/// Who runs the tests. The standard library does not tell.
pub(crate) fn user_id() -> u32 {
    let id = Command::new("id").arg("-u").output();
    let id = id.ok().and_then(|id| String::from_utf8(id.stdout).ok()?.trim().parse().ok());
    // Not root, as far as is known.
    id.unwrap_or(1)
}

fn find(name: &str) -> Option<Account> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let entry = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut ids = entry.split(':').skip(2).map(str::parse);
    Some(Account { uid: ids.next()?.ok()?, gid: ids.next()?.ok()? })
}
