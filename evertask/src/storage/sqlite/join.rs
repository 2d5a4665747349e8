//! ∅ → pending in a transaction that the caller has begun on a connection of its own.

use std::{path::Path, sync::Arc};

use super::{
    Sqlite, enqueue, error::storage_error, filesystem::identity, held::Rows, lane::Lanes,
    transaction::Transaction,
};
use crate::storage::{
    BoxFuture, Enqueued, FullStorage, JoinTx, NewTask,
    join::{Join, JoinError, Joined, storage_of},
    rules,
};

const DOING: &str = "cannot store tasks in the caller's transaction";

impl JoinTx for rusqlite::Transaction<'_> {}

impl Join for rusqlite::Transaction<'_> {
    fn join<'t>(
        &'t mut self,
        storage: Arc<dyn FullStorage>,
        tasks: Vec<NewTask>,
    ) -> BoxFuture<'t, Result<Joined, JoinError>> {
        // All of it now: the driver blocks, and its transaction could not be sent to another thread with the future.
        Box::pin(std::future::ready(join(self, &*storage, &tasks)))
    }

    fn blocks(&self) -> bool {
        true
    }
}

fn join(
    caller: &mut rusqlite::Transaction<'_>,
    storage: &dyn FullStorage,
    tasks: &[NewTask],
) -> Result<Joined, JoinError> {
    let sqlite: &Sqlite = storage_of(storage, "SQLite")?;
    let path = &sqlite.0.path;
    same_file(caller.path(), path)?;
    tasks.iter().try_for_each(rules::check_new)?;
    let told = |error| storage_error(path, DOING, &Arc::new(error));
    // Other processes tell by what they see in the file that this one has written. So does the writer of this one.
    Ok(Joined { enqueued: store(caller, sqlite, tasks).map_err(told)?, wakes: false })
}

/// All of them, or none if one fails, and the transaction can go on in either case.
fn store(
    caller: &mut rusqlite::Transaction<'_>,
    sqlite: &Sqlite,
    tasks: &[NewTask],
) -> rusqlite::Result<Vec<Enqueued>> {
    let point = caller.savepoint()?;
    let mut lanes = Lanes::default();
    lanes.refresh(&point)?;
    let mut rows = Rows::default();
    let now = sqlite.0.clock.micros();
    let enqueued =
        enqueue::enqueue(&mut Transaction::new(&point, &mut lanes, &mut rows, now, true), tasks)?;
    point.commit()?;
    Ok(enqueued)
}

/// Refuses a transaction on another file. The files are compared, since one file has many paths.
fn same_file(caller: Option<&str>, ours: &Path) -> Result<(), JoinError> {
    let file = caller.filter(|path| !path.is_empty()).map(Path::new);
    let same = file.is_some_and(|file| match (identity(file), identity(ours)) {
        (Some(theirs), Some(ours)) => theirs == ours,
        _ => file.canonicalize().ok().is_some_and(|file| Some(file) == ours.canonicalize().ok()),
    });
    if same {
        return Ok(());
    }
    let theirs =
        file.map_or("has no file".to_owned(), |file| format!("is on `{}`", file.display()));
    Err(JoinError::Elsewhere { transaction: theirs, storage: format!("in `{}`", ours.display()) })
}
