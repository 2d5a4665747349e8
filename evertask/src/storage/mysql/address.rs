//! What a url says: where the database is, and how it is to prove that it is the right one.

use std::{path::PathBuf, time::Duration};

use mysql_async::{Opts, OptsBuilder, SslOpts};

use crate::storage::server;

/// The driver's settings from a url, with ours where it leaves them open.
pub(super) struct Address {
    pub(super) opts: Opts,
    /// For people: the database without the password.
    pub(super) place: String,
}

impl Address {
    /// Reads a url. The error does not hold it, since it may hold a password.
    ///
    /// `ssl-mode` and `ssl-ca` mean what the server's own client means by them, or more.
    pub(super) fn read(url: &str) -> Result<Self, String> {
        unmistakable(url)?;
        let url = match url.strip_prefix("mariadb:") {
            Some(rest) => format!("mysql:{rest}"),
            None => url.to_owned(),
        };
        let (mut mode, mut authorities) = (None, None);
        let url = server::without(&url, |key, value| {
            match key {
                "ssl-mode" | "ssl_mode" | "sslmode" => mode = Some(value),
                "ssl-ca" | "ssl_ca" => authorities = Some(PathBuf::from(value)),
                _ => return false,
            }
            true
        });
        let opts = Opts::from_url(&url).map_err(|error| error.to_string())?;
        let Some(database) = opts.db_name().filter(|name| !name.is_empty()).map(str::to_owned)
        else {
            return Err("it names no database, as in `mysql://user@host/database`".to_owned());
        };
        let server = match opts.socket() {
            Some(socket) => socket.to_owned(),
            None => format!("{}:{}", opts.ip_or_hostname(), opts.tcp_port()),
        };
        let place = format!("the database `{database}` at `{server}`");
        // The driver has words of its own, such as `require_ssl=true`.
        let tls = tls(mode.as_deref(), authorities)?.or_else(|| opts.ssl_opts().cloned());
        if tls.is_some() {
            can_speak_tls()?;
        }
        let keepalive = opts.tcp_keepalive().unwrap_or(Duration::from_secs(10));
        let builder = OptsBuilder::from_opts(opts)
            .ssl_opts(tls)
            // A path that the server names is of the server's machine.
            .prefer_socket(false)
            .stmt_cache_size(0)
            .tcp_keepalive(Some(keepalive));
        Ok(Self { opts: builder.into(), place })
    }
}

/// Refuses what may be a password that has one of these characters in it as it is. It would be read as something else, and told.
fn unmistakable(url: &str) -> Result<(), String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.split_once(['/', '?', '#']) {
        Some((_, behind)) if behind.contains('@') => {
            Err("an `@` stands behind a `/`, `?` or `#`: in a name or a password those are \
            written `%2F`, `%3F` and `%23`, and elsewhere an `@` is `%40`"
                .to_owned())
        }
        _ => Ok(()),
    }
}

/// How the server is to prove who it is, if TLS is asked for.
fn tls(mode: Option<&str>, authorities: Option<PathBuf>) -> Result<Option<SslOpts>, String> {
    let mode = mode.map(|mode| mode.to_ascii_uppercase().replace('-', "_"));
    let opts = match (mode.as_deref(), &authorities) {
        (Some("DISABLED"), _) | (None, None) => return Ok(None),
        (Some("REQUIRED"), None) => SslOpts::default().with_danger_accept_invalid_certs(true),
        // Who says whom to trust wants it looked at.
        (Some("REQUIRED" | "VERIFY_IDENTITY") | None, _) => SslOpts::default(),
        (Some("VERIFY_CA"), _) => {
            return Err("`ssl-mode=VERIFY_CA` is not to be had, since the driver never leaves out the name: say `VERIFY_IDENTITY`".into());
        }
        (Some("PREFERRED"), _) => {
            return Err("`ssl-mode=PREFERRED` protects from nobody who can cut in: say `REQUIRED` or more, or `DISABLED`".into());
        }
        (Some(_), _) => {
            return Err("`ssl-mode` is one of `DISABLED`, `REQUIRED`, `VERIFY_IDENTITY`".into());
        }
    };
    let Some(file) = authorities else { return Ok(Some(opts)) };
    let wrong = |why: &str| format!("the file `{}` that `ssl-ca` names: {why}", file.display());
    let read = std::fs::read(&file).map_err(|error| wrong(&error.to_string()))?;
    if !String::from_utf8_lossy(&read).contains("-----BEGIN CERTIFICATE-----") {
        return Err(wrong("it holds no certificate in the format PEM"));
    }
    Ok(Some(opts.with_disable_built_in_roots(true).with_root_certs(vec![read.into()])))
}

/// The driver takes the cryptography that is set for the process, and fails if there is none and several could be.
#[cfg(feature = "mysql-tls")]
fn can_speak_tls() -> Result<(), String> {
    use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
    if CryptoProvider::get_default().is_none() {
        // Somebody else may just have set one.
        let _set = ring::default_provider().install_default();
    }
    Ok(())
}

#[cfg(not(feature = "mysql-tls"))]
fn can_speak_tls() -> Result<(), String> {
    Err("it asks for TLS, for which evertask needs the feature `mysql-tls`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether certificates are looked at, if TLS is asked for.
    fn asked(mode: &str) -> Result<Option<bool>, String> {
        let tls = tls(Some(mode), None)?;
        Ok(tls.map(|tls| !tls.accept_invalid_certs() && !tls.skip_domain_validation()))
    }

    #[test]
    fn tls_is_what_the_servers_client_means_by_it() {
        assert!(tls(None, None).is_ok_and(|none| none.is_none()));
        assert_eq!(asked("DISABLED"), Ok(None));
        assert_eq!(asked("required"), Ok(Some(false)));
        assert_eq!(asked("verify-identity"), Ok(Some(true)));
        assert!(asked("VERIFY_CA").unwrap_err().contains("`VERIFY_IDENTITY`"));
        assert!(asked("PREFERRED").unwrap_err().contains("`REQUIRED`"));
        assert!(asked("maybe").unwrap_err().contains("`VERIFY_IDENTITY`"));
        let missing = tls(Some("REQUIRED"), Some("/none".into())).unwrap_err();
        assert!(missing.contains("`/none`"), "{missing}");
        let other = tls(None, Some("/etc/hostname".into())).unwrap_err();
        assert!(other.contains("holds no certificate"), "{other}");
    }

    #[test]
    fn a_password_that_would_be_read_as_something_else_is_refused_and_not_told() {
        for mark in ['/', '?', '#'] {
            for url in [
                format!("mysql://user:SEC{mark}RET@h/db"),
                format!("mariadb://us{mark}er:SECRET@h:1/db?ssl-mode=REQUIRED"),
                format!("mysql://user:SEC@R{mark}ET@h/db"),
                format!("mysql://user:x{mark}ssl-ca=SECRET@h/db"),
            ] {
                let why = Address::read(&url).map(|address| address.place).unwrap_err();
                assert!(why.contains("`%3F`"), "{url}: {why}");
            }
        }
        let fine = Address::read("mysql://user:SEC%3FRET%40@h/db?socket=/tmp/%40s");
        assert_eq!(fine.map(|it| it.place), Ok("the database `db` at `/tmp/@s`".to_owned()));
    }

    #[test]
    fn a_url_that_asks_for_tls_is_read_as_far_as_there_is_any() {
        let read = |end: &str| Address::read(&format!("mysql://user:secret@h/db?{end}"));
        for asks in ["ssl-mode=REQUIRED", "require_ssl=true"] {
            match read(asks) {
                Ok(address) => {
                    assert!(cfg!(feature = "mysql-tls") && address.opts.ssl_opts().is_some())
                }
                Err(why) => assert!(!cfg!(feature = "mysql-tls") && why.contains("`mysql-tls`")),
            }
        }
        let plain = read("ssl-mode=DISABLED").map_err(|_| ()).expect("no TLS");
        assert!(plain.opts.ssl_opts().is_none());
        assert_eq!(plain.place, "the database `db` at `h:3306`");
    }
}
