//! Whether a server can keep our promises: asked before anything is stored in it.

use super::{
    connection::{Connection, Settings},
    error::Fault,
    row::{number, text, truth},
    script::Script,
};
use crate::storage::{StorageError, StorageErrorKind};

/// The oldest versions that have all we need: rows that others have locked can be passed over.
const OLDEST_MARIADB: (u32, u32) = (10, 6);
const OLDEST_MYSQL: (u32, u32) = (8, 0);

const LOOK: &str =
    "SELECT VERSION(), @@innodb_flush_log_at_trx_commit, @@log_bin, @@read_only, @@sync_binlog";

const BINLOG: &str = "SELECT @@binlog_format";

/// Refuses a server on which tasks could be lost, or that lacks what we need.
pub(super) async fn check(conn: &mut Connection, settings: &Settings) -> Result<(), Fault> {
    let mut script = Script::new(&settings.prefix);
    let look = script.add(LOOK, &[]);
    let answers = conn.run(script).await?;
    let row = answers.row(look)?;
    let place = &settings.place;
    let refuse = |kind, why: String| Err(Fault::from(StorageError::new(kind, why)));
    let named = text(row, 0)?;
    let maria = named.contains("MariaDB");
    let oldest = if maria { OLDEST_MARIADB } else { OLDEST_MYSQL };
    if version(named).is_none_or(|version| version < oldest) {
        let why = format!("{place} is {named}; evertask needs MariaDB 10.6 or MySQL 8, or newer");
        return refuse(StorageErrorKind::Other, why);
    }
    if truth(row, 3)? {
        let why = format!("{place} is set to `read_only`; connect to the primary server");
        return refuse(StorageErrorKind::ReadOnly, why);
    }
    let flush: i64 = number(row, 1)?;
    let log: bool = truth(row, 2)?;
    if log {
        let mut script = Script::new(&settings.prefix);
        let format = script.add(BINLOG, &[]);
        let answers = conn.run(script).await?;
        if text(answers.row(format)?, 0)?.eq_ignore_ascii_case("statement") {
            let why = format!(
                "{place} has `binlog_format` set to `STATEMENT`, with which it does not take transactions that lock no gaps; set it \
                 to `ROW` or `MIXED`"
            );
            return refuse(StorageErrorKind::Other, why);
        }
    }
    if !settings.durable {
        return Ok(());
    }
    // MariaDB's 3 syncs even more often.
    let synced = flush == 1 || (maria && flush == 3);
    // What is in the one log and not in the other is taken back after a crash.
    let both = !log || number::<i64>(row, 4)? == 1;
    if !synced || !both {
        let what = if synced { "sync_binlog" } else { "innodb_flush_log_at_trx_commit" };
        let why = format!(
            "{place} has `{what}` set to other than 1, so that a crash may take committed tasks with it: set it to 1, or accept that \
             with `MySql::options().durable(false)`"
        );
        return refuse(StorageErrorKind::Unsafe, why);
    }
    Ok(())
}

/// The first two numbers of a version.
fn version(named: &str) -> Option<(u32, u32)> {
    // Some servers of MariaDB put another version in front, for programs that are afraid of numbers above 5.
    let named = named.strip_prefix("5.5.5-").unwrap_or(named);
    let mut numbers = named.split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_read_as_servers_write_them() {
        assert_eq!(version("10.11.14-MariaDB-0+deb12u2"), Some((10, 11)));
        assert_eq!(version("5.5.5-10.6.1-MariaDB"), Some((10, 6)));
        assert_eq!(version("8.0.36"), Some((8, 0)));
        assert_eq!(version("new"), None);
    }
}
