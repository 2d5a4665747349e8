//! Where the database lies: a network file system cannot keep what SQLite and our locks need, and a file that was moved away
//! keeps nothing.

use std::{io, path::Path};

/// What is mounted where, as Linux tells it. Elsewhere, and where it is not told, nothing is.
pub(super) fn mounts() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
}

/// The type of the network file system that holds this file, which is there or is to be made in its directory.
pub(super) fn network<'m>(
    mountinfo: &'m str,
    directory: &Path,
    file: &Path,
) -> io::Result<Option<&'m str>> {
    // A link leads to where it points.
    let place = if file.exists() { file.canonicalize()? } else { directory.canonicalize()? };
    Ok(filesystem_of(mountinfo, &place).filter(|kind| is_network(kind)))
}

/// What tells a file from all others while it exists, where the platform says so. An emptied file is none: SQLite would go on from
/// what it remembers, into a log that fits nothing any more.
pub(super) fn identity(file: &Path) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let file = file.metadata().ok().filter(|file| file.len() > 0)?;
        Some((file.dev(), file.ino()))
    }
    #[cfg(not(unix))]
    {
        let _cannot_be_moved_while_open = file;
        None
    }
}

/// The file system type of the mount that holds this absolute path.
fn filesystem_of<'m>(mountinfo: &'m str, path: &Path) -> Option<&'m str> {
    // `36 35 98:0 /root /mount/point rw,noatime shared:1 - ext4 /dev/sda1 rw`: any number of optional fields before the `-`.
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = unescape(before.split(' ').nth(4)?);
        Some((point, after.split(' ').next()?))
    });
    let holding = mounts.filter(|(point, _)| path.starts_with(point));
    // The deepest mount holds it; of several at one place, the last one hides the others.
    holding.max_by_key(|(point, _)| Path::new(point).components().count()).map(|(_, kind)| kind)
}

fn is_network(kind: &str) -> bool {
    const NETWORK: [&str; 15] = [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "gfs2",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
        "virtiofs",
    ];
    // What is local among file systems in user space; all others are bridges to somewhere.
    const LOCAL_FUSE: [&str; 5] = ["bindfs", "fuse-overlayfs", "gocryptfs", "encfs", "lxcfs"];
    match kind.strip_prefix("fuse.") {
        Some(fuse) => !LOCAL_FUSE.contains(&fuse),
        None => NETWORK.contains(&kind),
    }
}

/// Mount points are written with `\040` for a space and so on.
fn unescape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        let Some(code) = code.filter(u8::is_ascii) else {
            text.push('\\');
            rest = &rest[at + 1..];
            continue;
        };
        text.push(char::from(code));
        rest = &rest[at + 4..];
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 27 0:40 / /mnt/share rw shared:2 master:3 - nfs4 nas:/export rw
31 30 8:2 / /mnt/share/local rw - xfs /dev/sdb rw
32 27 0:41 / /mnt/with\\040space rw - fuse.sshfs host: rw
33 27 0:42 / /mnt/over rw - ext4 /dev/sdc rw
34 27 0:43 / /mnt/over rw - cifs //host/share rw
35 27 0:44 / /mnt/sharepoint rw - fuse.gocryptfs /x rw
";

    #[track_caller]
    fn check(path: &str, kind: &str, network: bool) {
        assert_eq!(filesystem_of(MOUNTINFO, Path::new(path)), Some(kind), "{path}");
        assert_eq!(is_network(kind), network, "{kind}");
    }

    #[test]
    fn the_deepest_and_last_mount_says_what_holds_a_path() {
        check("/home/ada/tasks.db", "ext4", false);
        check("/mnt/share/tasks.db", "nfs4", true);
        check("/mnt/share/local/tasks.db", "xfs", false);
        check("/mnt/with space/tasks.db", "fuse.sshfs", true);
        check("/mnt/over/tasks.db", "cifs", true);
        // Begins like `/mnt/share`, but is another directory.
        check("/mnt/sharepoint/tasks.db", "fuse.gocryptfs", false);
    }

    #[test]
    fn nothing_is_made_of_lines_that_are_no_mounts() {
        assert_eq!(filesystem_of("", Path::new("/x")), None);
        assert_eq!(filesystem_of("1 2 - nfs\nnonsense\n\n", Path::new("/x")), None);
        assert_eq!(unescape("a\\040b\\134c\\9"), "a b\\c\\9");
    }
}
