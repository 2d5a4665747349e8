//! Who has signed up: a table of the application's own, in a file of its own.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use evertask::TaskId;
use rusqlite::{Connection, params};

/// The users who have signed up.
#[derive(Debug, Clone)]
pub(crate) struct Users(Arc<Mutex<Connection>>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// Unique among users.
    pub(crate) email: String,
    /// What to call them.
    pub(crate) name: String,
    /// A task for their welcome mail is stored.
    pub(crate) welcomed: bool,
}

/// Why the users could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsersError {
    /// The database refused.
    #[error("the table of users: {0}")]
    Database(#[from] rusqlite::Error),
    /// The program is ending.
    #[error("the program is ending")]
    Ending,
}

impl Users {
    /// Opens the file and makes the table if it is not there.
    pub(crate) fn open(path: impl AsRef<Path>) -> Result<Self, UsersError> {
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA journal_mode = wal;
             PRAGMA synchronous = full;
             CREATE TABLE IF NOT EXISTS users (
                 email   TEXT PRIMARY KEY,
                 name    TEXT NOT NULL,
                 welcome TEXT -- the task that sends the welcome mail, once it is stored
             ) STRICT;",
        )?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Stores the user; one who is there already stays as they are. Returns what is stored now.
    pub(crate) async fn join(&self, email: String, name: String) -> Result<User, UsersError> {
        self.with(move |connection| {
            let insert = "INSERT INTO users (email, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            connection.execute(insert, params![email, name])?;
            let select = "SELECT email, name, welcome IS NOT NULL FROM users WHERE email = ?1";
            connection.query_row(select, params![email], |row| {
                Ok(User { email: row.get(0)?, name: row.get(1)?, welcomed: row.get(2)? })
            })
        })
        .await
    }

    /// Notes that the user's welcome mail is on its way.
    pub(crate) async fn welcomed(&self, email: String, task: TaskId) -> Result<(), UsersError> {
        self.with(move |connection| {
            let update = "UPDATE users SET welcome = ?2 WHERE email = ?1";
            connection.execute(update, params![email, task.to_string()]).map(|_| ())
        })
        .await
    }

    /// Every call waits for the disk, so it goes to a thread that may wait.
    async fn with<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, UsersError> {
        let Self(connection) = self.clone();
        let call = move || call(&connection.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(tokio::task::spawn_blocking(call).await.map_err(|_| UsersError::Ending)??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_signs_up_once_and_is_welcomed_once() {
        let users = Users::open(":memory:").unwrap();
        let join = |name: &str| users.join("ada@example.com".into(), name.into());
        let ada = User { email: "ada@example.com".into(), name: "Ada".into(), welcomed: false };
        assert_eq!(join("Ada").await.unwrap(), ada);
        assert_eq!(join("Someone else").await.unwrap(), ada);
        users.welcomed(ada.email.clone(), TaskId::new()).await.unwrap();
        assert_eq!(join("Ada").await.unwrap(), User { welcomed: true, ..ada });
    }
}
