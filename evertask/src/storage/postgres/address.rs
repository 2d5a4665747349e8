//! What a url says: where the database is, and how it is to prove that it is the right one.

use std::{path::PathBuf, time::Duration};

use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};

use crate::storage::server;

/// How long a connection may take to come about.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

/// How a server is to prove who it is, where TLS is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Not at all: what is sent is only hidden from those who listen.
    None,
    /// By a certificate of an authority that is trusted.
    Authority,
    /// By such a one, for the host that was asked for.
    Host,
}

/// The driver's settings, with ours where the url leaves them open, and what the driver does not know.
#[cfg_attr(
    not(feature = "postgres-tls"),
    allow(dead_code, reason = "nothing is proved without TLS")
)]
pub(super) struct Address {
    pub(super) config: Config,
    /// For people: the database without the password.
    pub(super) place: String,
    pub(super) proof: Proof,
    /// The file with the certificates of the authorities that are trusted; those known to the public if there is none.
    pub(super) authorities: Option<PathBuf>,
}

impl Address {
    /// Reads a url, or words as `host=… sslmode=…`. The error does not hold it, since it may hold a password.
    pub(super) fn read(url: &str) -> Result<Self, String> {
        let (mut mode, mut authorities) = (None, None);
        let url = without(url, |key, value| {
            match key {
                "sslmode" if value.starts_with("verify-") => mode = Some(value),
                "sslmode" => {
                    // Only the last one counts, and this one is the driver's.
                    mode = None;
                    return false;
                }
                "sslrootcert" => authorities = Some(value).filter(|value| value != "system"),
                _ => return false,
            }
            true
        });
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            without_values(&format!("{error}{}", cause.unwrap_or_default()))
        })?;
        let proof = match mode.as_deref() {
            Some("verify-full") => Proof::Host,
            Some("verify-ca") => Proof::Authority,
            Some(other) => return Err(format!("`sslmode={other}` is none that there is")),
            // As others have it: who says whom to trust wants it looked at.
            None if config.get_ssl_mode() == SslMode::Require && authorities.is_some() => {
                Proof::Authority
            }
            None => Proof::None,
        };
        if proof != Proof::None {
            config.ssl_mode(SslMode::Require);
        }
        if config.get_application_name().is_none() {
            config.application_name("evertask");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        // A server that vanished is noticed within half a minute.
        config.keepalives_idle(Duration::from_secs(10));
        config.keepalives_interval(Duration::from_secs(5)).keepalives_retries(3);
        config.tcp_user_timeout(Duration::from_secs(25));
        let hosts = config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        });
        let hosts = hosts.collect::<Vec<_>>().join(",");
        let database = config.get_dbname().or(config.get_user()).unwrap_or("postgres");
        let place = format!("the database `{database}` at `{hosts}`");
        Ok(Self { config, place, proof, authorities: authorities.map(PathBuf::from) })
    }
}

/// The url, or the words as `host=… sslmode=…`, without the parameters that are taken out of it.
fn without(url: &str, mut take: impl FnMut(&str, String) -> bool) -> String {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return server::without(url, take);
    }
    let is_kept = |word: &&str| {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        !take(key, value.trim_matches('\'').to_owned())
    };
    url.split(' ').filter(is_kept).collect::<Vec<_>>().join(" ")
}

/// What the driver says about a url, in which it may quote whatever it took for the name of an option: a password, too.
fn without_values(said: &str) -> String {
    let is_name = |part: &str| part.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let parts = said.split('`').enumerate();
    let hidden: Vec<_> =
        parts.map(|(n, part)| if n % 2 == 0 || is_name(part) { part } else { "***" }).collect();
    hidden.join("`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_driver_does_not_know_is_read_and_the_rest_left_to_it() {
        let read = |url: &str| {
            let Address { config, proof, authorities, .. } = Address::read(url)?;
            Ok::<_, String>((config.get_ssl_mode(), proof, authorities))
        };
        let root = || Some(PathBuf::from("/a b.crt"));
        let require = SslMode::Require;
        for (said, meant) in [
            ("", (SslMode::Prefer, Proof::None, None)),
            ("?sslmode=disable", (SslMode::Disable, Proof::None, None)),
            ("?sslmode=require", (require, Proof::None, None)),
            ("?sslmode=require&sslrootcert=%2Fa%20b.crt", (require, Proof::Authority, root())),
            ("?sslrootcert=/a%20b.crt&sslmode=verify-ca", (require, Proof::Authority, root())),
            ("?sslmode=verify-full&application_name=x", (require, Proof::Host, None)),
            ("?sslmode=verify-full&sslrootcert=system", (require, Proof::Host, None)),
            ("?sslmode=verify-full&sslmode=disable", (SslMode::Disable, Proof::None, None)),
        ] {
            assert_eq!(read(&format!("postgres://u:p@h/db{said}")), Ok(meant), "{said}");
        }
        let words = "host=h user=u sslmode=verify-full sslrootcert='/r.crt'";
        assert_eq!(read(words), Ok((require, Proof::Host, Some("/r.crt".into()))));
        for (wrong, why) in [("verify-all", "verify-all"), ("none", "sslmode")] {
            let error = read(&format!("postgres://u:secret@h/db?sslmode={wrong}")).unwrap_err();
            assert!(error.contains(why) && !error.contains("secret"), "{error}");
        }
        let address = Address::read("postgres://u:secret@h/db?sslmode=verify-full").unwrap();
        assert_eq!(address.place, "the database `db` at `h`");
    }
}
