//! A storage named by a url.

use std::sync::Arc;

use crate::{
    error::StartError,
    runtime::builder::OpenStorage,
    storage::{FullStorage, Memory},
};

/// The storage this url names, still to be opened.
pub(crate) fn open(url: &str) -> Result<OpenStorage, StartError> {
    let scheme = url.split(':').next().unwrap_or_default();
    match scheme {
        "memory" => {
            let memory: Arc<dyn FullStorage> = Arc::new(Memory::new());
            Ok(Box::new(|| Box::pin(std::future::ready(Ok(memory)))))
        }
        "sqlite" => sqlite(url),
        "postgres" | "postgresql" => postgres(url),
        "mysql" | "mariadb" => mysql(url),
        _ => Err(bad(url, "it begins with none of `sqlite:`, `postgres:`, `mysql:`, `memory:`")),
    }
}

#[cfg(feature = "sqlite")]
fn sqlite(url: &str) -> Result<OpenStorage, StartError> {
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    let path = path.strip_prefix("//").unwrap_or(path).to_owned();
    if path.is_empty() || path.contains('?') {
        return Err(bad(url, "a path is to follow, as in `sqlite://tasks.db`, without parameters"));
    }
    Ok(Box::new(|| {
        Box::pin(async move {
            let storage: Arc<dyn FullStorage> = Arc::new(crate::storage::Sqlite::open(path).await?);
            Ok(storage)
        })
    }))
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(url: &str) -> Result<OpenStorage, StartError> {
    Err(bad(url, "this build has no SQLite storage; turn on the feature `sqlite`"))
}

#[cfg(feature = "postgres")]
#[allow(clippy::unnecessary_wraps, reason = "what is wrong with the url is told when it is opened")]
fn postgres(url: &str) -> Result<OpenStorage, StartError> {
    let url = url.to_owned();
    Ok(Box::new(|| {
        Box::pin(async move {
            let postgres = crate::storage::Postgres::connect(url).await?;
            let storage: Arc<dyn FullStorage> = Arc::new(postgres);
            Ok(storage)
        })
    }))
}

#[cfg(not(feature = "postgres"))]
fn postgres(url: &str) -> Result<OpenStorage, StartError> {
    Err(bad(url, "this build has no PostgreSQL storage; turn on the feature `postgres`"))
}

#[cfg(feature = "mysql")]
#[allow(clippy::unnecessary_wraps, reason = "what is wrong with the url is told when it is opened")]
fn mysql(url: &str) -> Result<OpenStorage, StartError> {
    let url = url.to_owned();
    Ok(Box::new(|| {
        Box::pin(async move {
            let mysql = crate::storage::MySql::connect(url).await?;
            let storage: Arc<dyn FullStorage> = Arc::new(mysql);
            Ok(storage)
        })
    }))
}

#[cfg(not(feature = "mysql"))]
fn mysql(url: &str) -> Result<OpenStorage, StartError> {
    Err(bad(url, "this build has no MySQL storage; turn on the feature `mysql`"))
}

/// The error names the url without what may be a password: all between the scheme and the last `@`, and the parameters.
fn bad(url: &str, why: &str) -> StartError {
    let (shown, parameters) = match url.split_once('?') {
        // A password may hold a question mark.
        Some((shown, rest)) if !rest.contains('@') => (shown, "?***"),
        _ => (url, ""),
    };
    let hidden = shown.split_once(':').and_then(|(scheme, rest)| {
        let slashes = if rest.starts_with("//") { "//" } else { "" };
        rest.rsplit_once('@').map(|(_, host)| format!("{scheme}:{slashes}***@{host}"))
    });
    let shown = hidden.unwrap_or_else(|| shown.to_owned());
    StartError::BadUrl { url: shown + parameters, why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_names_no_storage_says_so_and_hides_the_password() {
        let said = |url: &str| open(url).err().map(|error| error.to_string());
        assert_eq!(said("memory:"), None);
        let redis = said("redis://u:secret@h/0").unwrap_or_default();
        assert!(redis.contains("redis://***@h/0") && !redis.contains("secret"), "{redis}");
        for url in
            ["redis:u:secret@h", "u:secret@h", "r://u:a@secret?@h/0", "r://h?password=secret"]
        {
            let said = said(url).unwrap_or_default();
            assert!(said.contains('h') && !said.contains("secret"), "{said}");
        }
        assert!(said("sqlite://").unwrap_or_default().contains("a path is to follow"));
        if cfg!(feature = "mysql") {
            assert_eq!(said("mysql://h/db"), None, "tried when it is opened");
            assert_eq!(said("mariadb://h/db"), None);
        } else {
            let said = said("mariadb://u:secret@h/db").unwrap_or_default();
            assert!(said.contains("the feature `mysql`") && !said.contains("secret"), "{said}");
        }
        if cfg!(feature = "postgres") {
            assert_eq!(said("postgres://h/db"), None, "tried when it is opened");
        } else {
            let said = said("postgres://u:secret@h/db").unwrap_or_default();
            assert!(said.contains("the feature `postgres`") && !said.contains("secret"), "{said}");
        }
    }
}
