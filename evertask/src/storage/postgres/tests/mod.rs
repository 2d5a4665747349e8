//! What is only this storage's own, seen from inside.

use super::{Postgres, PostgresOptions, connection::Connection};
use crate::storage::server::Purpose;

mod bookmark;
mod heart;
mod holders;
#[cfg(all(feature = "conformance", feature = "sqlx"))]
mod joined;
mod opening;
mod plans;
#[cfg(feature = "conformance")]
mod rolling;
mod trips;

/// Options for a schema of the test's own; `None`, and told loudly, where there is no server.
fn fresh() -> Option<(PostgresOptions, String)> {
    let server = evertask_servers::postgres()?;
    let options = Postgres::options().durable(false).schema(evertask_servers::schema());
    Some((options, server.url()))
}

/// A session as transitions have it.
async fn session(postgres: &Postgres) -> Connection {
    Connection::open(&postgres.0.site.settings, Purpose::Write).await.unwrap()
}
