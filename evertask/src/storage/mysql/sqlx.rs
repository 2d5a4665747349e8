//! `sqlx` on the same database: its transactions, in which tasks can be stored, and what its errors are.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Executor, Row, mysql::MySqlDatabaseError};

use super::{
    error::kind_of,
    join::{self, Answer, DOING, Session},
    site::Site,
};
use crate::storage::{
    BoxFuture, FullStorage, JoinTx, NewTask, StorageError, StorageErrorKind,
    join::{Join, JoinError, Joined},
};

impl JoinTx for sqlx::Transaction<'_, sqlx::MySql> {}

impl Join for sqlx::Transaction<'_, sqlx::MySql> {
    fn join<'t>(
        &'t mut self,
        storage: Arc<dyn FullStorage>,
        tasks: Vec<NewTask>,
    ) -> BoxFuture<'t, Result<Joined, JoinError>> {
        Box::pin(join::join(self, storage, tasks))
    }
}

impl Session for sqlx::Transaction<'_, sqlx::MySql> {
    async fn send(
        &mut self,
        site: &Site,
        text: Vec<u8>,
        _statements: usize,
    ) -> Result<Vec<Answer>, StorageError> {
        let told: Result<Vec<Answer>, sqlx::Error> = async {
            // Values are written so that nothing in them can be misread, and so that all of it is ASCII.
            let text = String::from_utf8_lossy(&text).into_owned();
            let rows = (**self).fetch_all(sqlx::raw_sql(AssertSqlSafe(text))).await?;
            let read = |row: &sqlx::mysql::MySqlRow| {
                (0..row.len()).map(|at| row.try_get_unchecked::<Vec<u8>, _>(at)).collect()
            };
            rows.iter().map(read).collect()
        }
        .await;
        told.map_err(|error| tell(error, &site.settings.place))
    }
}

/// The driver met this error.
fn tell(error: sqlx::Error, place: &str) -> StorageError {
    let said = error.as_database_error();
    let said = said.and_then(|said| said.try_downcast_ref::<MySqlDatabaseError>());
    let kind = said.map_or(StorageErrorKind::Unavailable, |said| kind_of(said.number()));
    StorageError::new(kind, format!("{DOING}: {place}: {error}")).caused_by(error)
}
