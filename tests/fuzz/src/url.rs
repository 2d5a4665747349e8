//! Urls of storages: whatever is wrong with one, what may be a password is not told.

use std::{cell::RefCell, time::Duration};

use evertask::{
    Runtime, StorageError,
    storage::{MySql, Postgres},
};
use tokio::runtime;

pub(crate) const URLS: &[&str] = &[
    "redis://user:PASSWORD@host/0",
    "mysql://user:PASSWORD@127.0.0.1:1/database?require_ssl=false",
    "mariadb://user:PASSWORD@127.0.0.1:1/database?ssl-mode=REQUIRED&ssl-ca=%2Fnone.pem",
    "mariadb://us?r:PASSWORD@127.0.0.1:1/database?ssl-mode=REQUIRED",
    "postgres://user:PASSWORD@127.0.0.1:1/database?connect_timeout=1&sslmode=disable",
    "postgres://user:PASSWORD@127.0.0.1:1/database?sslmode=require",
    "user:PASSWORD@host",
];

const SECRET: &str = "PASSWORD";

/// A url.
///
/// # Panics
/// If something does not hold.
pub fn url(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let lower = text.to_lowercase();
    let server = ["postgres", "mysql", "mariadb"].iter().any(|scheme| lower.starts_with(scheme));
    // No files, and nobody's servers: where this one points, nobody listens.
    let authority = text.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    let authority = authority.unwrap_or_default();
    let ends_at_once = authority.ends_with("@127.0.0.1:1") && !lower.contains("host");
    if server && !ends_at_once || lower.contains("sqlite") || lower.starts_with("memory") {
        return;
    }
    let error = tokio(async {
        let told = |error: StorageError| format!("{error} {error:?}");
        if ends_at_once && lower.starts_with("postgres") {
            Postgres::connect(text).await.err().map(told)
        } else if ends_at_once {
            MySql::connect(text).await.err().map(told)
        } else {
            let started = Runtime::builder().discover(false).url(text).start().await;
            started.err().map(|error| format!("{error} {error:?}"))
        }
    });
    // A password stands between a colon and an `@`; elsewhere it is none.
    let before = if server { authority.rsplit_once('@') } else { text.rsplit_once('@') };
    let password = before.and_then(|(before, _)| before.split_once(':'));
    let once = text.matches(SECRET).count() == 1;
    if once && password.is_some_and(|(_, password)| password.contains(SECRET)) {
        let error = error.expect("there is no such storage");
        assert!(!error.contains(SECRET), "{text:?}: {error}");
    }
}

fn tokio<T>(run: impl Future<Output = T>) -> T {
    thread_local! {
        static TOKIO: RefCell<runtime::Runtime> = RefCell::new(
            runtime::Builder::new_current_thread().enable_all().build().expect("an executor"),
        );
    }
    TOKIO.with_borrow(|tokio| {
        tokio.block_on(async {
            let ended = tokio::time::timeout(Duration::from_secs(60), run).await;
            ended.expect("an error comes within a minute")
        })
    })
}
