//! `sqlx` on the same database: its transactions, in which tasks can be stored, how it connects, and what its errors are.

use std::{fmt::Write, net::IpAddr, sync::Arc};

use sqlx::{
    AssertSqlSafe, PgConnection, Row,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio_postgres::{
    config::{Host, SslMode},
    error::SqlState,
};

use super::{
    address::Proof,
    connection::Settings,
    error::{advice, kind_of},
    join::{self, Answer, Call, DOING, Place, Session, WHERE},
    site::Site,
};
use crate::storage::{
    BoxFuture, FullStorage, JoinTx, NewTask, StorageError, StorageErrorKind,
    join::{Join, JoinError, Joined},
};

impl JoinTx for sqlx::Transaction<'_, sqlx::Postgres> {}

impl Join for sqlx::Transaction<'_, sqlx::Postgres> {
    fn join<'t>(
        &'t mut self,
        storage: Arc<dyn FullStorage>,
        tasks: Vec<NewTask>,
    ) -> BoxFuture<'t, Result<Joined, JoinError>> {
        (**self).join(storage, tasks)
    }
}

/// For transactions that were begun by hand, or by [`Tx`](crate::Tx). Outside of a transaction the tasks are stored at once.
impl JoinTx for PgConnection {}

impl Join for PgConnection {
    fn join<'t>(
        &'t mut self,
        storage: Arc<dyn FullStorage>,
        tasks: Vec<NewTask>,
    ) -> BoxFuture<'t, Result<Joined, JoinError>> {
        Box::pin(join::join(self, storage, tasks))
    }
}

impl Session for PgConnection {
    async fn place(&mut self, site: &Site) -> Result<Place, StorageError> {
        let told = async {
            let row = sqlx::query(WHERE).persistent(!site.settings.pooled_proxy);
            let row = row.fetch_one(&mut *self).await?;
            Ok((row.try_get(0)?, row.try_get(1)?))
        };
        told.await.map_err(|error| tell(error, &site.settings.place, DOING))
    }

    async fn call(&mut self, site: &Site, call: Call<'_>) -> Result<Vec<Answer>, StorageError> {
        let told: Result<Vec<Answer>, sqlx::Error> = async {
            // Its only part that is not written here is the name of the schema, and that is quoted.
            let query =
                sqlx::query(AssertSqlSafe(call.sql)).persistent(!site.settings.pooled_proxy);
            let query = query.bind(call.given).bind(call.payloads).bind(call.clock);
            let rows = query.fetch_all(&mut *self).await?;
            let read = |row: &sqlx::postgres::PgRow| {
                Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
            };
            rows.iter().map(read).collect()
        }
        .await;
        told.map_err(|error| tell(error, &site.settings.place, DOING))
    }
}

impl Settings {
    /// The same database for `sqlx`, one for each host that may have it. Whether one may be written to is asked there.
    pub(super) fn for_sqlx(&self) -> Vec<PgConnectOptions> {
        let config = &self.config;
        let mode = match (config.get_ssl_mode(), self.proof.0) {
            (SslMode::Disable, _) => PgSslMode::Disable,
            (_, Proof::Host) => PgSslMode::VerifyFull,
            (_, Proof::Authority) => PgSslMode::VerifyCa,
            (SslMode::Require, Proof::None) => PgSslMode::Require,
            (_, Proof::None) => PgSslMode::Prefer,
        };
        let asked = config.get_options().and_then(asked_at_start);
        let mut common = asked.unwrap_or_else(PgConnectOptions::new_without_pgpass).ssl_mode(mode);
        if let Some(authorities) = &self.proof.1 {
            common = common.ssl_root_cert(authorities);
        }
        if let Some(user) = config.get_user() {
            common = common.username(user);
        }
        if let Some(password) = config.get_password() {
            common = common.password(&String::from_utf8_lossy(password));
        }
        if let Some(database) = config.get_dbname().or(config.get_user()) {
            common = common.database(database);
        }
        if let Some(name) = config.get_application_name() {
            common = common.application_name(name);
        }
        if self.pooled_proxy {
            // Proxies refuse settings that they do not know; this one is as it should be in every server since version 12.
            common = common.statement_cache_capacity(0).extra_float_digits(None);
        }
        let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
        let ports = config.get_ports();
        let at = |at: usize| {
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            let options = common.clone().port(port);
            match (hosts.get(at), addresses.get(at)) {
                #[cfg(unix)]
                (Some(Host::Unix(path)), _) => options.socket(path),
                // A certificate is for the name, and there is no telling this driver both.
                (Some(Host::Tcp(name)), _) if self.proof.0 == Proof::Host => options.host(name),
                (_, Some(address)) => options.host(&IpAddr::to_string(address)),
                (Some(Host::Tcp(name)), None) => options.host(name),
                (None, None) => options,
            }
        };
        (0..hosts.len().max(addresses.len())).map(at).collect()
    }
}

/// Nothing but what is asked of a server at the start of a session: as it stands in a url, since only there it is taken whole.
fn asked_at_start(options: &str) -> Option<PgConnectOptions> {
    let mut url = "postgres:///?options=".to_owned();
    for byte in options.bytes() {
        let _infallible = write!(url, "%{byte:02x}");
    }
    url.parse().ok()
}

/// The driver met this error.
pub(super) fn tell(error: sqlx::Error, place: &str, doing: &str) -> StorageError {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let kind = match &code {
        Some(code) => kind_of(&SqlState::from_code(code)),
        None => StorageErrorKind::Unavailable,
    };
    let advice = code.as_deref().and_then(advice).map(|advice| format!("; {advice}"));
    let message = format!("{doing}: {place}: {error}{}", advice.unwrap_or_default());
    StorageError::new(kind, message).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::postgres::{address::Address, tls::tls};

    fn settings(url: &str) -> Settings {
        let address = Address::read(url).unwrap();
        Settings {
            tls: tls(&address).unwrap(),
            proof: (address.proof, address.authorities.clone()),
            config: address.config,
            schema: "evertask".to_owned(),
            durable: true,
            pooled_proxy: false,
            place: address.place,
        }
    }

    #[test]
    fn what_a_url_says_is_said_to_the_other_driver_as_well() {
        let url = "postgres://ada@a,b:7/db?hostaddr=10.0.0.1,10.0.0.2&options=-c%20work_mem%3D1MB%20--x.y%3Da%5C%20b&application_name=x";
        let all = settings(url).for_sqlx();
        let host = |at: usize| (all[at].get_host(), all[at].get_port());
        assert_eq!((host(0), host(1)), (("10.0.0.1", 5432), ("10.0.0.2", 7)));
        for one in &all {
            assert_eq!(one.get_options(), Some("-c work_mem=1MB --x.y=a\\ b"));
            let told = (one.get_username(), one.get_database(), one.get_application_name());
            assert_eq!(told, ("ada", Some("db"), Some("x")));
        }
        let only = settings("hostaddr=10.0.0.1 user=ada").for_sqlx();
        assert_eq!((only.len(), only[0].get_host()), (1, "10.0.0.1"));
        let named = settings("postgres://ada@a/db").for_sqlx();
        assert_eq!((named[0].get_host(), named[0].get_port()), ("a", 5432));
    }
}
