//! Who keeps dead rows from being cleared away: every transaction that still could see them, of whatever application.

use std::time::Duration;

use tokio_postgres::{Row, types::Type};

use super::{
    connection::{Connection, Sql},
    error::Fault,
    row::get,
    site::Site,
};
use crate::storage::{Hindrance, server::Transition};

/// A transaction that is open for longer than this is told of.
const LONG: Duration = Duration::from_secs(5);

// Snapshots and transaction numbers of this database, those of transactions that were prepared and forgotten included. What a
// role may not see of the sessions of others is null. Vacuuming holds nobody up.
const LOOK: Sql = Sql {
    text: "SELECT pid, extract(epoch FROM clock_timestamp() - since)::float8, who, state, query FROM (
            SELECT pid, xact_start AS since, usename::text AS who, state, query FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type <> 'autovacuum worker'
                AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
            UNION ALL SELECT NULL, prepared, owner::text, 'prepared', gid FROM pg_prepared_xacts
            WHERE database = current_database()) AS open
        WHERE since < clock_timestamp() - $1 * interval '1 second' ORDER BY since LIMIT 20",
    types: &[Type::FLOAT8],
};

#[derive(Debug)]
pub(super) struct Hindrances;

impl Transition<Site> for Hindrances {
    type Answer = Vec<Hindrance>;

    const DOING: &'static str = "cannot look who is in the way";

    async fn run(&self, _site: &Site, conn: &mut Connection) -> Result<Vec<Hindrance>, Fault> {
        conn.one((&LOOK, &[&LONG.as_secs_f64()])).await?.iter().map(hindrance).collect()
    }
}

fn hindrance(row: &Row) -> Result<Hindrance, Fault> {
    let (pid, lasts): (Option<i32>, f64) = (get(row, 0)?, get(row, 1)?);
    let who = get::<Option<&str>>(row, 2)?.unwrap_or("(unknown)");
    let state = get::<Option<&str>>(row, 3)?.unwrap_or("(unknown)");
    let query: Option<String> = get(row, 4)?;
    let end = match (pid, &query) {
        (Some(pid), _) => format!("SELECT pg_terminate_backend({pid})"),
        (None, Some(gid)) => format!("ROLLBACK PREPARED '{}'", gid.replace('\'', "''")),
        (None, None) => "ROLLBACK PREPARED".to_owned(),
    };
    let what = format!(
        "a transaction of `{who}` ({state}) is open and keeps dead rows from being cleared away, so that tasks take ever longer \
         to find: let it end, or end it with `{end}`"
    );
    let mut hindrance =
        Hindrance::new(what, Duration::try_from_secs_f64(lasts).unwrap_or_default());
    (hindrance.pid, hindrance.query) = (pid.map(i32::cast_unsigned), query);
    Ok(hindrance)
}
